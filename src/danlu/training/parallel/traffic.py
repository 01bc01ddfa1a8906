"""What the GPUs of a layout send one another in a step, and how long the step takes, on paper.

Bytes are those that one GPU sends in rings: a gathering or a scattering of n parts of a whole of B bytes sends
(n - 1) / n x B, an all-reduce twice that (Patarasuk and Yuan 2009). The times are those of Narayanan et al. 2021:
products at a share of the card's peak, a pipeline that waits (p - 1) / m of its work, links at their rate.
"""

from dataclasses import dataclass

from danlu.training.parallel.estimate import Batch, Decoder, Precision, Recompute, around_blocks, parameters_of
from danlu.training.parallel.layout import Layout

FORWARD_SHARE = 1 / 3  # of a step: the backward pass multiplies twice as much


@dataclass(frozen=True)
class Card:
    """A GPU and its links.

    Attributes:
        name: as torch calls it, of which the peak is known.
        memory_bytes: that it has.
        inside_bytes_s: that it sends a second to those of its node.
        between_bytes_s: to other nodes.
        a_node: how many a node has.
    """

    name: str
    memory_bytes: float
    inside_bytes_s: float
    between_bytes_s: float
    a_node: int = 8


@dataclass(frozen=True)
class Traffic:
    """Bytes that a GPU sends in a step, by what for.

    Attributes:
        data: gradients, among copies of the model and parts of a sequence.
        shard: weights gathered for the forward and the backward pass, gradients scattered.
        tensor: activations around the products that are split.
        pipeline: activations and their gradients, to the next stage and the one before.
        context: keys and values of the other parts of a sequence, and their gradients.
    """

    data: float
    shard: float
    tensor: float
    pipeline: float
    context: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.data + self.shard + self.tensor + self.pipeline + self.context


@dataclass(frozen=True)
class Times:
    """Seconds of a step.

    Attributes:
        products: arithmetic, what is computed again included.
        bubble: stages wait for others.
        waiting: for what is sent and not hidden behind arithmetic.
    """

    products: float
    bubble: float
    waiting: float

    @property
    def step(self) -> float:
        """All of it."""
        return self.products + self.bubble + self.waiting


def flops_a_token(model: Decoder) -> float:
    """Operations of a forward and a backward pass, the model's own: 6 for each weight of a matrix, and attention.

    Of attention, scores and answers take 2 x sequence x hidden each forward; causal, half of that.
    """
    matrices = model.layers * model.layer_matrices + model.table
    return 6.0 * matrices + 6.0 * model.layers * model.sequence * model.hidden


def bubble(layout: Layout, batch: Batch) -> float:
    """The share of a step in which stages of a pipeline wait: (p - 1) / (m + p - 1)."""
    return (layout.pipeline - 1) / (batch.microbatches + layout.pipeline - 1)


def traffic(
    model: Decoder,
    layout: Layout,
    batch: Batch,
    precision: Precision,
    recompute: Recompute = "none",
    sequence_parallel: bool = True,
) -> Traffic:
    """What a GPU of a middle stage sends in a step; with several stages, of the one with most weights."""
    weights = max(parameters_of(model, layout, stage) for stage in range(layout.pipeline))
    copies = layout.data * layout.context
    layers = -(-model.layers // layout.pipeline)
    tokens = batch.sequences * model.sequence // layout.context
    stream = tokens * model.hidden * precision.compute
    passes = 2 if recompute == "none" else 3  # forward, backward, and forward again
    # Blocks are gathered for each pass, what is around them once for both; in a pipeline all is, for the whole step.
    times_sent = 1 if layout.pipeline > 1 else batch.microbatches
    gathered = weights if layout.pipeline > 1 else 2 * weights - around_blocks(model, layout)
    # Tokens that tensor splits are gathered before they go to another stage, and their gradients likewise.
    whole = stream * (1 + part(layout.tensor)) if sequence_parallel else stream
    return Traffic(
        data=2 * part(copies) * weights / layout.shard * precision.gradient,
        shard=part(layout.shard) * times_sent * (gathered * precision.compute + weights * precision.gradient),
        # Each of attention and MLP has an all-reduce in each pass, or a gathering and a scattering of the same size;
        # so have embedding and last matrix together.
        tensor=2 * passes * 2 * part(layout.tensor) * stream * (layers + 0.5 / layout.pipeline) * batch.microbatches,
        pipeline=2 * whole * batch.microbatches if layout.pipeline > 1 else 0.0,
        context=passes * part(layout.context) * _keys(model, layout, batch, precision) * layers * batch.microbatches,
    )


def part(ways: int) -> float:
    """The share of a whole that a member of a ring sends to gather or to scatter it."""
    return (ways - 1) / ways


def _keys(model: Decoder, layout: Layout, batch: Batch, precision: Precision) -> float:
    """Bytes of keys and values of whole sequences, of the heads that a GPU has."""
    return 2 * model.kv_width / layout.tensor * batch.sequences * model.sequence * precision.compute


def times(
    model: Decoder,
    layout: Layout,
    batch: Batch,
    sent: Traffic,
    card: Card,
    flops_s: float,
    recompute: Recompute = "none",
) -> Times:
    """How long a step takes.

    Gradients of copies and what shards gather are sent while the GPU computes, as far as that takes long enough; what
    tensor, context and pipeline send has to be there before the next product.

    Args:
        sent: what `traffic` says.
        flops_s: operations a second that products reach.
    """
    tokens = batch.sequences * batch.microbatches * model.sequence
    again = {"none": 0.0, "selective": 0.0, "full": FORWARD_SHARE}[recompute]
    products = (
        flops_a_token(model) * tokens * (1 + again) / (layout.tensor * layout.context * layout.pipeline) / flops_s
    )
    inner, outer = layout.tensor, layout.tensor * layout.context
    strict = sent.tensor / link(card, inner) + sent.context / link(card, outer)
    outer *= layout.shard
    hidden = sent.shard / link(card, outer)
    outer *= layout.data
    hidden += sent.data / link(card, outer)
    between_stages = sent.pipeline / link(card, outer * layout.pipeline)
    busy = products + strict
    # A pipeline waits for work that its messages are part of.
    idle = busy * (layout.pipeline - 1) / batch.microbatches
    return Times(products, idle, strict + between_stages + max(0.0, hidden - products))


def link(card: Card, spread: int) -> float:
    """Bytes a second among GPUs of which so many, next to one another, make a group."""
    return card.inside_bytes_s if spread <= card.a_node else card.between_bytes_s
