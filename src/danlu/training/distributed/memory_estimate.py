"""Analytical memory estimate of a decoder per GPU: weights, gradients, optimizer, activations, logits.

Pure functions of a model's shape, a layout and a batch; nothing is built. Weights and activations are split as in
Shoeybi et al. 2019 (https://arxiv.org/abs/1909.08053) and Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198)
(tensor, sequence), Narayanan et al. 2021 (https://arxiv.org/abs/2104.04473) (pipeline) and Rajbhandari et al. 2020
(https://arxiv.org/abs/1910.02054) (shard). Activation memory is that of the layers of transformers' Llama, whose norms
compute in fp32: a GPT with fused kernels keeps less.
"""

from dataclasses import dataclass
from typing import Literal

from danlu.errors import ArgumentError
from danlu.training.distributed.layout import Layout

Recompute = Literal["none", "selective", "full"]
FP32, BF16 = 4, 2  # bytes
MAX_UNCHUNKED_LOGITS, LOGITS_PER_CHUNK, MIN_CHUNK = 1 << 25, 1 << 24, 128  # as models.chunked computes the loss


@dataclass(frozen=True)
class DecoderShape:
    """Describe a Llama-like language model: grouped attention, a gated MLP, norms without biases.

    Attributes:
        hidden: width of the residual stream.
        heads: query heads; each has hidden / heads elements.
        kv_heads: key and value heads.
        intermediate: width of the MLP, whose three matrices are hidden x intermediate.
        sequence: tokens per sequence.
        tied: whether the output layer shares the embedding's weights.
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
        """Elements of one token's keys, and of its values."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def layer_matrices(self) -> int:
        """Weights per layer that tensor parallelism splits: query, output, key, value, MLP."""
        return 2 * self.hidden**2 + 2 * self.hidden * self.kv_width + 3 * self.hidden * self.intermediate

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding, and of the output layer."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, norms included."""
        tables = self.embedding_parameters if self.tied else 2 * self.embedding_parameters
        return tables + self.layers * (self.layer_matrices + 2 * self.hidden) + self.hidden


@dataclass(frozen=True)
class PrecisionBytes:
    """Give the bytes per element that a recipe's `training.precision` keeps.

    Attributes:
        weight: a weight, as stored.
        gradient: its gradient.
        optimizer: AdamW's state per weight: two moments, and an fp32 master copy where there is one.
        compute: an operand of a matrix product, and a gathered weight.
        normed: an element of the residual stream, and of the normed one before scaling.
        stream: an element of the stream as kept by a norm, which computes in fp32.
        inputs: copies of the normed stream that a layer's matrices keep; autocast makes one for each of five.
        cast: autocast's copy of a weight in compute precision, kept during a step.
    """

    weight: int
    gradient: int
    optimizer: int
    compute: int
    normed: int
    stream: int
    inputs: int
    cast: int


PRECISION_BYTES: dict[str, PrecisionBytes] = {
    "fp32": PrecisionBytes(FP32, FP32, 2 * FP32, FP32, FP32, FP32, inputs=2, cast=0),
    "bf16": PrecisionBytes(FP32, FP32, 2 * FP32, BF16, FP32, FP32, inputs=5, cast=BF16),
    "bf16-master": PrecisionBytes(BF16, BF16, 3 * FP32, BF16, BF16, FP32, inputs=2, cast=0),
    "bf16-stochastic": PrecisionBytes(BF16, BF16, 2 * FP32, BF16, BF16, FP32, inputs=2, cast=0),
}


@dataclass(frozen=True)
class StepBatch:
    """Describe the batch of one model replica per step.

    Attributes:
        sequences: per micro-batch.
        microbatches: per step.
    """

    sequences: int
    microbatches: int = 1


@dataclass(frozen=True)
class MemoryEstimate:
    """Hold the estimated bytes on the GPU that needs most.

    Attributes:
        gathered: weights that FSDP gathers for computation, or autocast's copies.
        activations: kept for the backward pass, of all micro-batches in flight.
        logits: with their gradient.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int

    @property
    def state(self) -> int:
        """Bytes that persist between steps."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All bytes, without the overhead of allocators and libraries."""
        return self.state + self.gathered + self.activations + self.logits


def check_divisible(model: DecoderShape, layout: Layout) -> None:
    """Raise ArgumentError if a model cannot be split by a layout."""
    ways = layout.tensor
    parts = {"heads": model.heads, "kv_heads": model.kv_heads, "intermediate": model.intermediate}
    for name, count in {**parts, "vocabulary": model.vocabulary}.items():
        if count % ways:
            raise ArgumentError(f"tensor {ways}: {name} {count} is not divisible by it", code="DL607")
    if layout.pipeline > model.layers:
        raise ArgumentError(
            f"pipeline {layout.pipeline}: a stage needs a layer, and there are only {model.layers}", code="DL607"
        )
    if model.sequence % (layout.context * ways):
        raise ArgumentError(
            f"context {layout.context}, tensor {ways}: a sequence's {model.sequence} tokens are not divisible by them",
            code="DL607",
        )


def stage_layers(model: DecoderShape, layout: Layout, stage: int) -> int:
    """Return the layers of a pipeline stage; the first stages take the remainder."""
    each, more = divmod(model.layers, layout.pipeline)
    return each + (stage < more)


def stage_parameters(model: DecoderShape, layout: Layout, stage: int) -> int:
    """Return the weights per GPU of a stage before sharding; matrices are split, norms not."""
    first, last = stage == 0, stage == layout.pipeline - 1
    layers = stage_layers(model, layout, stage)
    # Tied weights: the first and the last stage hold a copy each; a single stage holds one.
    tables = first + last if not model.tied or layout.pipeline > 1 else 1
    split = layers * model.layer_matrices + tables * model.embedding_parameters
    return split // layout.tensor + layers * 2 * model.hidden + last * model.hidden


def non_block_parameters(model: DecoderShape, layout: Layout) -> int:
    """Return the weights outside the blocks: embedding, output layer, last norm."""
    tables = model.embedding_parameters if model.tied else 2 * model.embedding_parameters
    return tables // layout.tensor + model.hidden


def estimate_memory(
    model: DecoderShape,
    layout: Layout,
    batch: StepBatch,
    precision: PrecisionBytes,
    recompute: Recompute = "none",
    sequence_parallel: bool = True,
) -> MemoryEstimate:
    """Estimate the memory of a training step on the GPU that needs most.

    Args:
        recompute: `training.memory.checkpointing`.
        sequence_parallel: with tensor, activations between the matrices are split by tokens.

    Raises:
        ArgumentError: the layout cannot split the model.
    """
    check_divisible(model, layout)
    stages = (
        _stage_memory(model, layout, batch, precision, recompute, sequence_parallel, stage)
        for stage in range(layout.pipeline)
    )
    return max(stages, key=lambda found: found.total)


def _stage_memory(
    model: DecoderShape,
    layout: Layout,
    batch: StepBatch,
    precision: PrecisionBytes,
    recompute: Recompute,
    sequence_parallel: bool,
    stage: int,
) -> MemoryEstimate:
    whole = stage_parameters(model, layout, stage)
    held = -(-whole // layout.shard)
    tokens = batch.sequences * model.sequence // layout.context
    kept = layer_bytes(model, layout.tensor, precision, recompute, sequence_parallel) * tokens
    if recompute != "full":  # gathered keys and values of the rest of a sequence
        kept += 2 * model.kv_width // layout.tensor * precision.compute * tokens * (layout.context - 1)
    under_way = min(batch.microbatches, layout.pipeline - stage)  # 1F1B: the first stage holds most
    activations = kept * stage_layers(model, layout, stage) * under_way
    if recompute != "none":  # the layer being recomputed keeps everything
        activations += layer_bytes(model, layout.tensor, precision, "none", sequence_parallel) * tokens
    last = stage == layout.pipeline - 1
    return MemoryEstimate(
        weights=held * precision.weight,
        gradients=held * precision.gradient,
        optimizer=held * precision.optimizer,
        gathered=_gathered_bytes(model, layout, precision, whole),
        activations=activations,
        logits=logit_bytes(model, layout.tensor, tokens) if last else 0,
    )


def _gathered_bytes(model: DecoderShape, layout: Layout, precision: PrecisionBytes, whole: int) -> int:
    """Return the bytes of weights that exist beside a GPU's own shards."""
    if layout.shard == 1:
        return whole * precision.cast
    if layout.pipeline > 1:
        # Nothing is freed between the micro-batches of a pipeline: weights and gradients stay gathered for the step.
        return whole * (precision.compute + precision.gradient)
    # The block in use and the one being prefetched; the weights outside blocks and their gradients, for both passes.
    return (2 * model.layer_matrices // layout.tensor + 2 * non_block_parameters(model, layout)) * precision.compute


def layer_bytes(
    model: DecoderShape, tensor: int, precision: PrecisionBytes, recompute: Recompute, sequence_parallel: bool = True
) -> int:
    """Return the bytes per token that a layer keeps for its backward pass.

    Without recomputation: the residual stream before and after each of two norms; the inputs of the linear layers;
    queries, keys, values and outputs of attention, whose scores are not kept (Dao et al. 2022,
    https://arxiv.org/abs/2205.14135); and in the MLP the gate, its activation, the other half, and their product.
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
    # A gathered input stays until its backward pass; Korthikanti et al. gather it again instead.
    return norms // between + inputs + split // tensor + logarithms


def logit_bytes(model: DecoderShape, tensor: int, tokens: int) -> int:
    """Return the bytes of fp32 logits and their gradient, chunked as the loss is."""
    if tokens * model.vocabulary > MAX_UNCHUNKED_LOGITS:
        tokens = min(tokens, max(MIN_CHUNK, LOGITS_PER_CHUNK // model.vocabulary))
    return 2 * FP32 * tokens * model.vocabulary // tensor
