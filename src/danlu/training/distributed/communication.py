"""Communication volume per GPU and step of a layout, and the estimated step time.

Bytes are those that one GPU sends in rings: gathering or scattering n parts of B bytes in all sends (n - 1) / n x B, an
all-reduce twice that (Patarasuk and Yuan 2009). Times follow Narayanan et al. 2021 (https://arxiv.org/abs/2104.04473):
matrix products at a fraction of the GPU's peak, a pipeline bubble of (p - 1) / m of its work, links at their rate.
"""

from dataclasses import dataclass

from danlu.training.distributed.layout import Layout
from danlu.training.distributed.memory_estimate import (
    DecoderShape,
    PrecisionBytes,
    Recompute,
    StepBatch,
    non_block_parameters,
    stage_parameters,
)

FORWARD_SHARE = 1 / 3  # of a step's FLOPs: the backward pass has twice as many


@dataclass(frozen=True)
class GPUSpec:
    """Describe a GPU and its links.

    Attributes:
        name: torch's name of the GPU, whose peak is known.
        memory_bytes: its memory.
        intra_node_bytes_s: bandwidth within a node.
        inter_node_bytes_s: bandwidth to other nodes.
        gpus_per_node: number of GPUs per node.
    """

    name: str
    memory_bytes: float
    intra_node_bytes_s: float
    inter_node_bytes_s: float
    gpus_per_node: int = 8


@dataclass(frozen=True)
class CommVolume:
    """Hold the bytes that a GPU sends per step, by parallel dimension.

    Attributes:
        data: gradients, among replicas and parts of a sequence.
        shard: weights gathered for the forward and the backward pass, gradients scattered.
        tensor: activations around split products.
        pipeline: activations and their gradients, to the neighbouring stages.
        context: keys and values of the rest of a sequence, and their gradients.
    """

    data: float
    shard: float
    tensor: float
    pipeline: float
    context: float

    @property
    def total(self) -> float:
        """All bytes."""
        return self.data + self.shard + self.tensor + self.pipeline + self.context


@dataclass(frozen=True)
class StepTime:
    """Hold the seconds of a step.

    Attributes:
        products: arithmetic, recomputation included.
        bubble: stages waiting for others.
        waiting: communication that does not overlap with arithmetic.
    """

    products: float
    bubble: float
    waiting: float

    @property
    def step(self) -> float:
        """All seconds."""
        return self.products + self.bubble + self.waiting


def flops_per_token(model: DecoderShape) -> float:
    """Count the model FLOPs per token, forward and backward: 6 per matrix weight, and attention.

    Attention scores and outputs take 2 x sequence x hidden each forward; causal, half of that.
    """
    matrices = model.layers * model.layer_matrices + model.embedding_parameters
    return 6.0 * matrices + 6.0 * model.layers * model.sequence * model.hidden


def bubble_fraction(layout: Layout, batch: StepBatch) -> float:
    """Return the idle fraction of a pipeline step.

    It is (p - 1) / (m + p - 1).
    """
    return (layout.pipeline - 1) / (batch.microbatches + layout.pipeline - 1)


def comm_volume(
    model: DecoderShape,
    layout: Layout,
    batch: StepBatch,
    precision: PrecisionBytes,
    recompute: Recompute = "none",
    sequence_parallel: bool = True,
) -> CommVolume:
    """Estimate the bytes a middle stage's GPU sends per step.

    With several stages, the weights are those of the largest.
    """
    weights = max(stage_parameters(model, layout, stage) for stage in range(layout.pipeline))
    copies = layout.data * layout.context
    layers = -(-model.layers // layout.pipeline)
    tokens = batch.sequences * model.sequence // layout.context
    stream = tokens * model.hidden * precision.compute
    passes = 2 if recompute == "none" else 3  # forward, backward, and forward again
    # Blocks are gathered per pass, weights outside them once for both; in a pipeline all, once per step.
    times_sent = 1 if layout.pipeline > 1 else batch.microbatches
    gathered = weights if layout.pipeline > 1 else 2 * weights - non_block_parameters(model, layout)
    # Tokens split by tensor are gathered before they go to another stage, and their gradients likewise.
    whole = stream * (1 + ring_fraction(layout.tensor)) if sequence_parallel else stream
    return CommVolume(
        data=2 * ring_fraction(copies) * weights / layout.shard * precision.gradient,
        shard=ring_fraction(layout.shard) * times_sent * (gathered * precision.compute + weights * precision.gradient),
        # Attention and MLP each have an all-reduce per pass, or a gather and a scatter of the same size;
        # embedding and output layer together have one too.
        tensor=2
        * passes
        * 2
        * ring_fraction(layout.tensor)
        * stream
        * (layers + 0.5 / layout.pipeline)
        * batch.microbatches,
        pipeline=2 * whole * batch.microbatches if layout.pipeline > 1 else 0.0,
        context=passes
        * ring_fraction(layout.context)
        * _kv_bytes(model, layout, batch, precision)
        * layers
        * batch.microbatches,
    )


def ring_fraction(ways: int) -> float:
    """Return the fraction of a tensor that a ring member sends.

    To gather or to scatter it.
    """
    return (ways - 1) / ways


def _kv_bytes(model: DecoderShape, layout: Layout, batch: StepBatch, precision: PrecisionBytes) -> float:
    """Return the bytes of keys and values of whole sequences, for one GPU's heads."""
    return 2 * model.kv_width / layout.tensor * batch.sequences * model.sequence * precision.compute


def estimate_step_time(
    model: DecoderShape,
    layout: Layout,
    batch: StepBatch,
    sent: CommVolume,
    gpu: GPUSpec,
    flops_s: float,
    recompute: Recompute = "none",
) -> StepTime:
    """Estimate the time of a step.

    Gradients of replicas and gathered shards overlap with computation, as far as it lasts; communication of tensor,
    context and pipeline must finish before the next product.

    Args:
        sent: from `comm_volume`.
        flops_s: FLOP/s that products reach.
    """
    tokens = batch.sequences * batch.microbatches * model.sequence
    again = {"none": 0.0, "selective": 0.0, "full": FORWARD_SHARE}[recompute]
    products = (
        flops_per_token(model) * tokens * (1 + again) / (layout.tensor * layout.context * layout.pipeline) / flops_s
    )
    inner, outer = layout.tensor, layout.tensor * layout.context
    strict = sent.tensor / link_bandwidth(gpu, inner) + sent.context / link_bandwidth(gpu, outer)
    outer *= layout.shard
    hidden = sent.shard / link_bandwidth(gpu, outer)
    outer *= layout.data
    hidden += sent.data / link_bandwidth(gpu, outer)
    between_stages = sent.pipeline / link_bandwidth(gpu, outer * layout.pipeline)
    busy = products + strict
    # Messages are part of the work that a pipeline waits for.
    idle = busy * (layout.pipeline - 1) / batch.microbatches
    return StepTime(products, idle, strict + between_stages + max(0.0, hidden - products))


def link_bandwidth(gpu: GPUSpec, group_size: int) -> float:
    """Return the bandwidth between `group_size` neighbouring GPUs, in bytes per second."""
    return gpu.intra_node_bytes_s if group_size <= gpu.gpus_per_node else gpu.inter_node_bytes_s
