"""Peak FLOP/s of known GPUs, the denominator of model FLOPs utilisation (MFU).

Dense figures (without 2:4 sparsity) of the makers' data sheets and architecture papers, products accumulated in fp32;
None for a GPU that is not listed.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PeakTFLOPS:
    """Hold one GPU's peak in TFLOP/s per precision; None if unsupported."""

    fp32: float
    tf32: float | None
    fp16: float | None
    bf16: float | None
    float8: float | None


# A pattern of the name that torch gives, the narrower before the wider -> the peak.
PEAK_TFLOPS: tuple[tuple[str, PeakTFLOPS], ...] = (
    (r"\bB200\b", PeakTFLOPS(75.0, 1125.0, 2250.0, 2250.0, 4500.0)),  # NVIDIA HGX B200 data sheet, an eighth of the board
    (r"\bH200 NVL\b", PeakTFLOPS(60.0, 417.5, 835.5, 835.5, 1670.5)),  # NVIDIA H200 data sheet
    (r"\bH200\b", PeakTFLOPS(67.0, 494.5, 989.5, 989.5, 1979.0)),
    (r"\bH100 PCIe\b", PeakTFLOPS(51.0, 378.0, 756.0, 756.0, 1513.0)),  # NVIDIA H100 data sheets of 2022 and 2024
    (r"\bH100 NVL\b", PeakTFLOPS(60.0, 417.5, 835.5, 835.5, 1670.5)),
    (r"\bH(100|800)\b", PeakTFLOPS(67.0, 494.5, 989.5, 989.5, 1979.0)),
    (r"\bA(100|800)\b", PeakTFLOPS(19.5, 156.0, 312.0, 312.0, None)),  # NVIDIA A100 data sheet
    (r"\bA40\b", PeakTFLOPS(37.4, 74.8, 149.7, 149.7, None)),  # NVIDIA A40 data sheet
    (r"\bA10\b", PeakTFLOPS(31.2, 62.5, 125.0, 125.0, None)),  # NVIDIA A10 data sheet
    (r"\bL40S\b", PeakTFLOPS(91.6, 183.0, 362.0, 362.0, 733.0)),  # NVIDIA L40S data sheet
    (r"\bL4\b", PeakTFLOPS(30.3, 60.0, 121.0, 121.0, 242.0)),  # NVIDIA L4 data sheet
    (r"\bRTX 4090$", PeakTFLOPS(82.6, 82.6, 165.2, 165.2, 330.3)),  # NVIDIA Ada architecture paper, table 2
    (r"\bRTX 3090$", PeakTFLOPS(35.6, 35.6, 71.0, 71.0, None)),  # NVIDIA GA102 architecture paper, table 9
    (r"\bV100S?-", PeakTFLOPS(15.7, None, 125.0, None, None)),  # NVIDIA V100 data sheet
    (r"\bT4\b", PeakTFLOPS(8.1, None, 65.0, None, None)),  # NVIDIA T4 data sheet
    (r"\bMI3(00|25)X\b", PeakTFLOPS(163.4, 653.7, 1307.4, 1307.4, 2614.9)),  # AMD Instinct MI300X data sheet
)
# The precisions of a recipe -> what the products are computed in.
COMPUTE_PRECISION = {"bf16-master": "bf16", "bf16-stochastic": "bf16"}


def peak_flops(name: str, precision: str) -> float | None:
    """Return the peak FLOP/s of a GPU by torch's name for it, or None."""
    for pattern, peak in PEAK_TFLOPS:
        if re.search(pattern, name):
            found: float | None = getattr(peak, COMPUTE_PRECISION.get(precision, precision), None)
            return None if found is None else found * 1e12
    return None
