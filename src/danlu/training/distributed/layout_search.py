"""Layout search for a decoder on many GPUs, by the analytical estimates of memory and time.

Every layout that can split the model is tried; of those that fit, the fastest is chosen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from danlu.core.devices.gpu import peak_flops
from danlu.errors import ArgumentError
from danlu.training.distributed.communication import (
    CommVolume,
    GPUSpec,
    StepTime,
    comm_volume,
    estimate_step_time,
    flops_per_token,
)
from danlu.training.distributed.layout import Layout
from danlu.training.distributed.memory_estimate import (
    PRECISION_BYTES,
    DecoderShape,
    MemoryEstimate,
    Recompute,
    StepBatch,
    estimate_memory,
)

# Llama 2 (Touvron et al. 2023, https://arxiv.org/abs/2307.09288): 4,096 tokens per sequence, 4M tokens per step.
DECODERS: dict[str, DecoderShape] = {
    "7b": DecoderShape(32, 4096, 32, 32, 11008, 32000, 4096),
    "13b": DecoderShape(40, 5120, 40, 40, 13824, 32000, 4096),
    "70b": DecoderShape(80, 8192, 64, 8, 28672, 32000, 4096),
}
TOKENS_PER_STEP = 1 << 22
# Memory and one-way NVLink rates of NVIDIA's data sheets; between nodes 400 and 200 Gbit/s per GPU, as in DGX.
GPUS: dict[str, GPUSpec] = {
    "a100": GPUSpec("A100", 80e9, 300e9, 25e9),
    "h100": GPUSpec("H100", 80e9, 450e9, 50e9),
    "h200": GPUSpec("H200", 141e9, 450e9, 50e9),
    "b200": GPUSpec("B200", 180e9, 900e9, 50e9),
}
# Fraction of the peak that products reach: Narayanan et al. 2021 report 44 to 52 % for whole steps on A100.
ACHIEVED_FLOPS = 0.5
USABLE_MEMORY = 0.9  # of the memory; the rest is for libraries, communication buffers and fragmentation
MICROBATCH_SIZES = (1, 2, 4, 8)
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class LayoutEstimate:
    """Hold the estimate of one layout.

    Attributes:
        tokens_s: tokens per second, all GPUs together.
        mfu: model FLOPs utilisation, the fraction of the peak.
    """

    gpus: int
    layout: Layout
    batch: StepBatch
    recompute: Recompute
    memory: MemoryEstimate
    traffic: CommVolume
    times: StepTime
    tokens_s: float
    mfu: float


def find_fastest_layout(
    model: DecoderShape, gpus: int, gpu: GPUSpec, precision: str, sequences: int, achieved_flops: float = ACHIEVED_FLOPS
) -> LayoutEstimate | None:
    """Return the fastest layout that fits, or None.

    Of layouts that are equally fast, the simplest.

    Args:
        precision: as `training.precision`.
        sequences: per step, over all GPUs.
        achieved_flops: the fraction of the GPU's peak that products reach.
    """
    fitting = (
        row
        for row in enumerate_estimates(model, gpus, gpu, precision, sequences, achieved_flops)
        if fits_memory(row, gpu)
    )
    return max(fitting, key=lambda row: (round(row.tokens_s), -_num_dims(row.layout), row.layout.data), default=None)


def fits_memory(estimate: LayoutEstimate, gpu: GPUSpec) -> bool:
    """Return whether the memory suffices."""
    return estimate.memory.total <= USABLE_MEMORY * gpu.memory_bytes


def enumerate_estimates(
    model: DecoderShape, gpus: int, gpu: GPUSpec, precision: str, sequences: int, achieved_flops: float
) -> Iterator[LayoutEstimate]:
    """Yield an estimate per layout, micro-batch size and recomputation mode."""
    peak = peak_flops(gpu.name, precision)
    if peak is None:
        raise ArgumentError(f"{gpu.name} does not support {precision}", code="DL607")
    kept = PRECISION_BYTES[precision]
    for layout in candidate_layouts(model, gpus, gpu):
        for batch in _step_batches(layout, sequences):
            for recompute in RECOMPUTE:
                needed = estimate_memory(model, layout, batch, kept, recompute)
                sent = comm_volume(model, layout, batch, kept, recompute)
                taken = estimate_step_time(model, layout, batch, sent, gpu, achieved_flops * peak, recompute)
                tokens_s = sequences * model.sequence / taken.step
                mfu = tokens_s * flops_per_token(model) / (peak * gpus)
                yield LayoutEstimate(gpus, layout, batch, recompute, needed, sent, taken, tokens_s, mfu)


def candidate_layouts(model: DecoderShape, gpus: int, gpu: GPUSpec) -> Iterator[Layout]:
    """Yield the layouts that can split the model; tensor stays inside a node."""
    for tensor in _divisors(gpus):
        if tensor > gpu.gpus_per_node or any(
            count % tensor for count in (model.heads, model.kv_heads, model.vocabulary)
        ):
            continue
        if model.intermediate % tensor or model.sequence % tensor:
            continue
        for pipeline in _divisors(gpus // tensor):
            if model.layers % pipeline:
                continue
            rest = gpus // tensor // pipeline
            yield from (Layout(rest // shard, shard, tensor, pipeline) for shard in _divisors(rest))


def _step_batches(layout: Layout, sequences: int) -> Iterator[StepBatch]:
    """Yield the micro-batch sizes that divide a replica's share of a step."""
    own, left = divmod(sequences, layout.dp_size)
    if left or not own:
        return
    yield from (StepBatch(size, own // size) for size in MICROBATCH_SIZES if own % size == 0)


def _divisors(number: int) -> list[int]:
    return [ways for ways in range(1, number + 1) if number % ways == 0]


def _num_dims(layout: Layout) -> int:
    """Count the dimensions that are split."""
    return sum(ways > 1 for ways in (layout.data, layout.shard, layout.tensor, layout.pipeline, layout.context))
