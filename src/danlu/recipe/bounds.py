"""Whole numbers of a recipe with the most that is sensible: far above any use, far below what breaks a machine.

What a bound does not catch, because it depends on several keys, is counted against the memory by `experiment.checks`.
"""

from typing import Annotated

from pydantic import Field

Threads = Annotated[int, Field(gt=0, le=4096)]  # also processes on one machine
Times = Annotated[int, Field(gt=0, le=1000)]  # blocks, heads, members, repeats: each costs as much as the first
Width = Annotated[int, Field(gt=0, le=1_000_000)]  # features of a layer
Pixels = Annotated[int, Field(gt=0, le=16_384)]  # a side
Samples = Annotated[int, Field(gt=0, le=100_000_000)]  # a batch
Steps = Annotated[int, Field(gt=0, le=10**12)]
FoldCount = Annotated[int, Field(ge=2, le=10_000)]
Resamples = Annotated[int, Field(ge=0, le=100_000)]
MAX_LAYERS = 1000
