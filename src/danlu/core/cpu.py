"""What this machine's processor is and can do, as far as 8-bit arithmetic depends on it."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
# Names as Linux has them.
TOLD = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
# Multiply 8-bit numbers and add up the products in 32 bits; without, pairs are added in 16, which saturates.
EXACT_8_BIT = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


@dataclass(frozen=True)
class Processor:
    """Describe a processor.

    Attributes:
        name: as the system has it.
        features: those of TOLD that it has; empty where the system does not say.
    """

    name: str
    features: tuple[str, ...]

    @property
    def adds_8_bit_exactly(self) -> bool:
        """Whether sums of products of 8-bit numbers do not saturate."""
        return any(feature in self.features for feature in EXACT_8_BIT)

    def to_json(self) -> dict[str, Any]:
        """Return `name` and `features`."""
        return {"name": self.name, "features": list(self.features)}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Processor":
        """Return the processor of such JSON."""
        return cls(told["name"], tuple(told["features"]))


@cache
def this_processor() -> Processor:
    """Return this machine's processor."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Processor(platform.processor() or platform.machine(), ())
    told: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        told.setdefault(key.strip(), value.strip())
    flags = set(told.get("flags", told.get("Features", "")).split())
    name = told.get("model name", platform.machine())
    return Processor(name, tuple(feature for feature in TOLD if feature in flags))
