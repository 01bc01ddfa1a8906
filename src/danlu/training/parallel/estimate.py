"""The memory of a decoder on one of many GPUs, on paper: weights, gradients, optimizer, activations, logits.

Pure functions of a model's shape, a layout and a batch; nothing is built. The split of weights and of activations is
that of Shoeybi et al. 2019 and Korthikanti et al. 2022 (tensor, sequence), Narayanan et al. 2021 (pipeline) and
Rajbhandari et al. 2020 (shard). What a layer keeps for its backward pass is counted for the layers of transformers'
Llama, whose norms compute in fp32: a GPT of fused kernels keeps less.
"""

from dataclasses import dataclass
from typing import Literal

from danlu.core.errors import ArgumentError
from danlu.training.parallel.layout import Layout

Recompute = Literal["none", "selective", "full"]
FP32, BF16 = 4, 2  # bytes
WHOLE_LOGITS, LOGITS_A_CHUNK, SMALLEST_CHUNK = 1 << 25, 1 << 24, 128  # as models.chunked computes the loss


@dataclass(frozen=True)
class Decoder:
    """The shape of a language model like Llama: grouped attention, a gated MLP, norms without biases.

    Attributes:
        hidden: width of the stream between layers.
        heads: of queries; each has hidden / heads elements.
        kv_heads: of keys and values.
        intermediate: width inside the MLP, whose three matrices are hidden x intermediate.
        sequence: tokens that attend to one another.
        tied: whether the last matrix is the embedding.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    sequence: int
    tied: bool = False

    @property
    def kv_width(self) -> int:
        """Elements of a token's keys, and of its values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_matrices(self) -> int:
        """Weights of a layer that tensor parallelism splits: query and output, key and value, the MLP's three."""
        return 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + 3 * self.hidden * self.intermediate

    @property
    def table(self) -> int:
        """Weights of the embedding, and of the last matrix."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of them, norms included."""
        tables = self.table if self.tied else 2 * self.table
        return tables + self.layers * (self.layer_matrices + 2 * self.hidden) + self.hidden


@dataclass(frozen=True)
class Precision:
    """Bytes of what a recipe's `training.precision` keeps.

    Attributes:
        weight: a weight.
        gradient: its gradient.
        optimizer: what AdamW keeps of it: two moments, and an fp32 copy where there is one.
        compute: an element of a matrix product, and of a gathered weight.
        normed: an element of the stream between layers, and of the normed one before it is scaled.
        stream: an element of the stream as a norm keeps it, which computes in fp32.
        inputs: copies of the normed stream that a layer's matrices keep; autocast makes one for each of five matrices.
        cast: a weight's copy in the precision of the products, which autocast keeps during a step.
    """

    weight: int
    gradient: int
    optimizer: int
    compute: int
    normed: int
    stream: int
    inputs: int
    cast: int


PRECISIONS: dict[str, Precision] = {
    "fp32": Precision(FP32, FP32, 2 * FP32, FP32, FP32, FP32, inputs=2, cast=0),
    "bf16": Precision(FP32, FP32, 2 * FP32, BF16, FP32, FP32, inputs=5, cast=BF16),
    "bf16-master": Precision(BF16, BF16, 3 * FP32, BF16, BF16, FP32, inputs=2, cast=0),
    "bf16-stochastic": Precision(BF16, BF16, 2 * FP32, BF16, BF16, FP32, inputs=2, cast=0),
}


@dataclass(frozen=True)
class Batch:
    """What one copy of the model gets in a step.

    Attributes:
        sequences: at a time, of a micro-batch.
        microbatches: one after the other.
    """

    sequences: int
    microbatches: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes on the GPU that needs most.

    Attributes:
        gathered: weights that a shard has whole while it computes with them, or autocast's copies.
        activations: kept for the backward pass, of all micro-batches that are under way.
        logits: and their gradient.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int

    @property
    def state(self) -> int:
        """What stays between steps."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of it, without what allocators and libraries waste."""
        return self.state + self.gathered + self.activations + self.logits


def require_fit(model: Decoder, layout: Layout) -> None:
    """Raise ArgumentError where a model cannot be split so many ways."""
    ways = layout.tensor
    parts = {"heads": model.heads, "kv_heads": model.kv_heads, "intermediate": model.intermediate}
    for name, count in {**parts, "vocabulary": model.vocabulary}.items():
        if count % ways:
            raise ArgumentError(f"tensor {ways}: {name} {count} is not divided by it")
    if layout.pipeline > model.layers:
        raise ArgumentError(f"pipeline {layout.pipeline}: there are {model.layers} layers, and a stage needs one")
    if model.sequence % (layout.context * ways):
        raise ArgumentError(
            f"context {layout.context}, tensor {ways}: a sequence's {model.sequence} tokens are not divided by them"
        )


def layers_of(model: Decoder, layout: Layout, stage: int) -> int:
    """Layers of a stage of the pipeline; the first ones have one more where they do not divide."""
    each, more = divmod(model.layers, layout.pipeline)
    return each + (stage < more)


def parameters_of(model: Decoder, layout: Layout, stage: int) -> int:
    """Weights on a GPU of a stage before they are sharded: matrices are split by tensor, norms are not."""
    first, last = stage == 0, stage == layout.pipeline - 1
    layers = layers_of(model, layout, stage)
    # Tied, the first stage and the last have a copy each; one stage alone has one.
    tables = first + last if not model.tied or layout.pipeline > 1 else 1
    split = layers * model.layer_matrices + tables * model.table
    return split // layout.tensor + layers * 2 * model.hidden + last * model.hidden


def around_blocks(model: Decoder, layout: Layout) -> int:
    """Weights outside of the blocks, where one stage has them all: embedding, last matrix, last norm."""
    tables = model.table if model.tied else 2 * model.table
    return tables // layout.tensor + model.hidden


def memory(
    model: Decoder,
    layout: Layout,
    batch: Batch,
    precision: Precision,
    recompute: Recompute = "none",
    sequence_parallel: bool = True,
) -> Memory:
    """What a training step takes of the GPU that it takes most of.

    Args:
        recompute: `training.memory.checkpointing`.
        sequence_parallel: with tensor, tokens are split between the matrices.

    Raises:
        ArgumentError: the model cannot be split so.
    """
    require_fit(model, layout)
    stages = (
        _of_stage(model, layout, batch, precision, recompute, sequence_parallel, stage)
        for stage in range(layout.pipeline)
    )
    return max(stages, key=lambda found: found.total)


def _of_stage(
    model: Decoder,
    layout: Layout,
    batch: Batch,
    precision: Precision,
    recompute: Recompute,
    sequence_parallel: bool,
    stage: int,
) -> Memory:
    whole = parameters_of(model, layout, stage)
    held = -(-whole // layout.shard)
    tokens = batch.sequences * model.sequence // layout.context
    kept = layer_bytes(model, layout.tensor, precision, recompute, sequence_parallel) * tokens
    if recompute != "full":  # keys and values of the other parts of a sequence
        kept += 2 * model.kv_width // layout.tensor * precision.compute * tokens * (layout.context - 1)
    under_way = min(batch.microbatches, layout.pipeline - stage)  # 1F1B: the first stage waits longest
    activations = kept * layers_of(model, layout, stage) * under_way
    if recompute != "none":  # one layer at a time has all that it keeps otherwise
        activations += layer_bytes(model, layout.tensor, precision, "none", sequence_parallel) * tokens
    last = stage == layout.pipeline - 1
    return Memory(
        weights=held * precision.weight,
        gradients=held * precision.gradient,
        optimizer=held * precision.optimizer,
        gathered=_gathered(model, layout, precision, whole),
        activations=activations,
        logits=logit_bytes(model, layout.tensor, tokens) if last else 0,
    )


def _gathered(model: Decoder, layout: Layout, precision: Precision, whole: int) -> int:
    """Weights that are there beside those that a GPU holds."""
    if layout.shard == 1:
        return whole * precision.cast
    if layout.pipeline > 1:
        # Between the micro-batches of a pipeline nothing is given back: weights and gradients are whole for the step.
        return whole * (precision.compute + precision.gradient)
    # A block in use and the next on its way; what is around the blocks, and its gradient, for both passes.
    return (2 * model.layer_matrices // layout.tensor + 2 * around_blocks(model, layout)) * precision.compute


def layer_bytes(
    model: Decoder, tensor: int, precision: Precision, recompute: Recompute, sequence_parallel: bool = True
) -> int:
    """What a layer keeps of a token for its backward pass.

    Without recomputation: the stream before and after each of two norms; what the normed stream is multiplied with;
    queries, keys, values and answers of attention, whose scores are not kept (Dao et al. 2022); and of the MLP the
    gate, its activation, the other half, and their product.
    """
    wide, narrow, inside = model.hidden, model.kv_width, model.intermediate
    between = tensor if sequence_parallel else 1
    logarithms = FP32 * model.heads // tensor
    if recompute == "full":
        return wide * precision.normed // between  # the layer's input
    if recompute == "selective":
        products = precision.compute * (2 * wide + 2 * narrow + 2 * inside) // tensor  # queries, answers, keys ...
        return products + (2 * precision.compute + precision.normed) * wide // between + logarithms
    norms = 2 * (precision.stream + precision.normed) * wide + 2 * FP32
    inputs = precision.inputs * precision.compute * wide
    split = precision.compute * (2 * wide + 2 * narrow + 4 * inside)
    # What is gathered for a product stays whole until its backward pass; Korthikanti et al. gather it anew.
    return norms // between + inputs + split // tensor + logarithms


def logit_bytes(model: Decoder, tensor: int, tokens: int) -> int:
    """Logits and their gradient in fp32, of as many tokens as are computed at once."""
    if tokens * model.vocabulary > WHOLE_LOGITS:
        tokens = min(tokens, max(SMALLEST_CHUNK, LOGITS_A_CHUNK // model.vocabulary))
    return 2 * FP32 * tokens * model.vocabulary // tensor
