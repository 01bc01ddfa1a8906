"""Layout search for a decoder on many GPUs, by the analytical estimates of memory and time.

Every layout that can split the model is tried; of those that fit, the fastest is chosen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from danlu.core.devices.peaks import peak_flops
from danlu.core.errors import ArgumentError
from danlu.training.parallel.estimate import (
    PRECISIONS,
    Batch,
    Decoder,
    Memory,
    Recompute,
    memory,
)
from danlu.training.parallel.layout import Layout
from danlu.training.parallel.traffic import Card, Times, Traffic, flops_a_token, times, traffic

# Llama 2 (Touvron et al. 2023, https://arxiv.org/abs/2307.09288): 4,096 tokens per sequence, 4M tokens per step.
DECODERS: dict[str, Decoder] = {
    "7b": Decoder(32, 4096, 32, 32, 11008, 32000, 4096),
    "13b": Decoder(40, 5120, 40, 40, 13824, 32000, 4096),
    "70b": Decoder(80, 8192, 64, 8, 28672, 32000, 4096),
}
TOKENS_A_STEP = 1 << 22
# Memory and one-way NVLink rates of NVIDIA's data sheets; between nodes 400 and 200 Gbit/s per GPU, as in DGX.
CARDS: dict[str, Card] = {
    "a100": Card("A100", 80e9, 300e9, 25e9),
    "h100": Card("H100", 80e9, 450e9, 50e9),
    "h200": Card("H200", 141e9, 450e9, 50e9),
    "b200": Card("B200", 180e9, 900e9, 50e9),
}
# Fraction of the peak that products reach: Narayanan et al. 2021 report 44 to 52 % for whole steps on A100.
REACHED = 0.5
USABLE = 0.9  # of the memory; the rest is for libraries, communication buffers and fragmentation
MICRO = (1, 2, 4, 8)
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclass(frozen=True)
class Row:
    """Hold the estimate of one layout.

    Attributes:
        tokens_s: tokens per second, all GPUs together.
        mfu: model FLOPs utilisation, the fraction of the peak.
    """

    gpus: int
    layout: Layout
    batch: Batch
    recompute: Recompute
    memory: Memory
    traffic: Traffic
    times: Times
    tokens_s: float
    mfu: float


def best(model: Decoder, gpus: int, card: Card, precision: str, sequences: int, reached: float = REACHED) -> Row | None:
    """Return the fastest layout that fits, or None.

    Of layouts that are equally fast, the simplest.

    Args:
        precision: as `training.precision`.
        sequences: per step, over all GPUs.
        achieved_flops: the fraction of the GPU's peak that products reach.
    """
    fitting = (row for row in rows(model, gpus, card, precision, sequences, reached) if fits(row, card))
    return max(fitting, key=lambda row: (round(row.tokens_s), -_ways(row.layout), row.layout.data), default=None)


def fits(row: Row, card: Card) -> bool:
    """Return whether the memory suffices."""
    return row.memory.total <= USABLE * card.memory_bytes


def rows(model: Decoder, gpus: int, card: Card, precision: str, sequences: int, reached: float) -> Iterator[Row]:
    """Yield an estimate per layout, micro-batch size and recomputation mode."""
    peak = peak_flops(card.name, precision)
    if peak is None:
        raise ArgumentError(f"{card.name} does not support {precision}")
    kept = PRECISIONS[precision]
    for layout in layouts(model, gpus, card):
        for batch in _batches(layout, sequences):
            for recompute in RECOMPUTE:
                needed = memory(model, layout, batch, kept, recompute)
                sent = traffic(model, layout, batch, kept, recompute)
                taken = times(model, layout, batch, sent, card, reached * peak, recompute)
                tokens_s = sequences * model.sequence / taken.step
                mfu = tokens_s * flops_a_token(model) / (peak * gpus)
                yield Row(gpus, layout, batch, recompute, needed, sent, taken, tokens_s, mfu)


def layouts(model: Decoder, gpus: int, card: Card) -> Iterator[Layout]:
    """Yield the layouts that can split the model; tensor stays inside a node."""
    for tensor in _divisors(gpus):
        if tensor > card.a_node or any(count % tensor for count in (model.heads, model.kv_heads, model.vocabulary)):
            continue
        if model.intermediate % tensor or model.sequence % tensor:
            continue
        for pipeline in _divisors(gpus // tensor):
            if model.layers % pipeline:
                continue
            rest = gpus // tensor // pipeline
            yield from (Layout(rest // shard, shard, tensor, pipeline) for shard in _divisors(rest))


def _batches(layout: Layout, sequences: int) -> Iterator[Batch]:
    """Yield the micro-batch sizes that divide a replica's share of a step."""
    own, left = divmod(sequences, layout.sample_ways)
    if left or not own:
        return
    yield from (Batch(size, own // size) for size in MICRO if own % size == 0)


def _divisors(number: int) -> list[int]:
    return [ways for ways in range(1, number + 1) if number % ways == 0]


def _ways(layout: Layout) -> int:
    """Count the dimensions that are split."""
    return sum(ways > 1 for ways in (layout.data, layout.shard, layout.tensor, layout.pipeline, layout.context))
