"""The recipe's section `training`: the loop, the optimizer and its schedule, memory, processes, and what else the loss
learns from.

Frozen values with defaults; a default that depends on the data is None here and filled in by
`danlu.experiment.defaults`.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from danlu.core.component import Frozen, OneOf
from danlu.recipe.bounds import Samples, Steps
from danlu.recipe.bounds import Threads as ThreadCount
from danlu.recipe.components import AverageOptions, OptimizerOptions, ScheduleOptions
from danlu.recipe.durations import Epochs, StepCount, Written, whole_epochs
from danlu.recipe.paths import RecipePath, TrackingUri
from danlu.recipe.sections.sparsity import Rounding, Sparsity


class Preference(Frozen):
    """Learn which of two answers is preferred (DPO, Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

    With training.label_smoothing, that share of the preferences is assumed to be flipped (conservative DPO).
    """

    loss: Literal["dpo"] = "dpo"
    beta: PositiveFloat = Field(
        default=0.1, description="DPO beta: strength of the KL penalty towards the reference model"
    )


class HiddenStates(Frozen):
    """Match a teacher's hidden states (FitNets, Romero et al. 2015, https://arxiv.org/abs/1412.6550).

    A linear projection maps the student's states to the teacher's width; it is trained with the student and left out of
    the bundle.
    """

    states: Literal["features", "layers"] = Field(
        default="features",
        description="features: the input of the last layer, one vector per sample; layers: of text transformers, every "
        "token's state after each student layer, matched to evenly spaced teacher layers",
    )
    distance: Literal["mse", "cosine"] = Field(
        default="mse", description="mean squared error, or one minus the cosine similarity"
    )
    weight: PositiveFloat = Field(default=0.5, description="weight of the distance in the loss")


class Distill(Frozen):
    """Learn from a teacher's outputs as well as the labels.

    Knowledge distillation (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).
    """

    teacher: RecipePath = Field(description="a bundle, or the run that made it; with the same task and labels")
    temperature: PositiveFloat | None = Field(
        default=None, description="softens both models' probabilities; 2 by default; not for numbers"
    )
    weight: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5,
        description="weight of the teacher's outputs in the loss; the labels have the rest. 0 only with `hidden`",
    )
    hidden: HiddenStates | None = Field(default=None, description="match the teacher's hidden states too")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.weight == 0 and self.hidden is None:
            raise ValueError("weight is 0, so nothing is learned from the teacher; increase it, or set hidden")
        return self


Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
ADAPTERS = ("lora", "dora", "qlora")


class Finetune(Frozen):
    """Adapt pretrained weights.

    `full` changes all of them. `head` leaves them as they are and trains the task's own layer on the features they
    compute, computed once. `gradual` begins with the head and unfreezes one block of layers after the other from there
    down (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146). `lora`, `dora` and `qlora` leave the weights as they
    are, train small matrices beside them and merge these at the end. The bundle has the same form each time.
    """

    mode: Literal["full", "head", "gradual", "lora", "dora", "qlora"] = "full"
    every: Epochs = Field(default=1, description="with gradual: epochs until the next block is unfrozen")
    freeze_epochs: NonNegativeInt | Epochs = Field(
        default=0, description="with full: epochs in which only the head is trained"
    )
    freeze: tuple[str, ...] = Field(
        default=(),
        description="frozen weights, by name from the root or by pattern: embeddings, blocks.0, *.conv1, "
        "/layer\\.[0-3]\\./",
    )
    batch_norm: Literal["train", "frozen"] = Field(
        default="train",
        description="frozen: batch norms keep their pretrained statistics; those with frozen weights do so anyway",
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="each block's learning rate, as a factor of the rate of the block above it"
    )
    rank: PositiveInt | None = Field(default=None, description="rank of an adapter's matrices; 16 by default")
    alpha: PositiveInt | None = Field(
        default=None, description="an adapter is scaled by alpha / rank; twice the rank by default"
    )
    dropout: Fraction = Field(default=0.0, description="dropout before an adapter")
    targets: tuple[str, ...] | None = Field(
        default=None,
        description="layers that get an adapter, by name or pattern: query, *.attention.*, /layer.[0-3].*/; all linear "
        "layers (and convolutions of images) but the head's by default",
    )

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained in place of the weights."""
        return self.mode in ADAPTERS

    @model_validator(mode="after")
    def _adapters_have_options(self) -> "Finetune":
        said = [key for key in ("rank", "alpha", "targets") if getattr(self, key) is not None]
        said += ["dropout"] if self.dropout else []
        if said and not self.adapts:
            raise ValueError(f"{said[0]} applies only to lora, dora and qlora; mode is {self.mode}")
        return self

    @model_validator(mode="after")
    def _frozen_once(self) -> "Finetune":
        if self.every > 1 and self.mode != "gradual":
            raise ValueError(f"every applies only to gradual; mode is {self.mode}")
        if self.freeze_epochs and self.mode != "full":
            raise ValueError(f"freeze_epochs applies only to full; mode is {self.mode}")
        if self.mode in ("head", *ADAPTERS) and (self.freeze or self.batch_norm != "train" or self.layer_decay < 1):
            raise ValueError(f"{self.mode} freezes the body; remove freeze, batch_norm and layer_decay")
        return self


class LocalSteps(Frozen):
    """Step copies of the model locally and average them only now and then.

    DiLoCo (Douillard et al. 2023, https://arxiv.org/abs/2311.08105).
    """

    every: StepCount | Written = Field(default=50, description="steps, or 2 epochs, between synchronisations")
    lr: PositiveFloat = Field(
        default=0.7, description="learning rate of the outer step; 1 with momentum 0 is the plain mean"
    )
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.9, description="Nesterov momentum of the outer step"
    )


class Parallel(Frozen):
    """Split the work among processes; their number is the product of all degrees."""

    data: PositiveInt | Literal["auto"] = Field(
        default="auto", description="data-parallel copies of the model; auto: what the other degrees leave"
    )
    shard: PositiveInt = Field(
        default=1, description="processes that share one copy of weights, gradients and optimizer state (FSDP)"
    )
    tensor: PositiveInt = Field(default=1, description="tensor-parallel processes, each with a part of every matrix")
    pipeline: PositiveInt = Field(default=1, description="pipeline stages")
    context: PositiveInt = Field(default=1, description="context-parallel processes; each has a part of every sequence")
    sequence: bool = Field(default=True, description="with tensor: split tokens too, between matrices")
    schedule: Literal["gpipe", "1f1b", "interleaved", "zero-bubble"] = Field(
        default="1f1b", description="schedule of the pipeline's stages"
    )
    microbatches: PositiveInt | None = Field(
        default=None, description="microbatches per batch in a pipeline; twice the stages by default"
    )
    offload: bool = Field(default=False, description="with shard: keep weights and optimizer state on the host")
    sync_batch_norm: bool | Literal["auto"] = Field(
        default="auto",
        description="compute batch norm statistics over all processes, as one process would; auto: yes, but for local "
        "steps. Each batch norm then waits for all",
    )
    compress: Literal["none", "bf16", "powersgd"] = Field(
        default="none", description="compression of gradients sent between copies of the model"
    )
    local: LocalSteps | None = None

    @property
    def syncs_batch_norm(self) -> bool:
        """Whether batch norms take their statistics from all processes."""
        return self.local is None if self.sync_batch_norm == "auto" else self.sync_batch_norm


class EarlyStopping(Frozen):
    """Stop training when a validation metric has not improved in `patience` validations.

    There is one validation per epoch, and ten in all where there are fewer epochs than that. The weights of the best
    validation are kept, also where it was better by less than `min_delta`.
    """

    metric: str = Field(default="validation/loss", pattern=r"^validation/")
    patience: PositiveInt = 5
    min_delta: NonNegativeFloat = Field(
        default=0.0,
        description="in the metric's own units; patience begins anew only after an improvement of more than this",
    )


class LearningRateScaling(Frozen):
    """Multiply the learning rate by batch_size / reference (linear) or its square root (sqrt).

    The linear rule is by Goyal et al. 2017, https://arxiv.org/abs/1706.02677.
    """

    rule: Literal["linear", "sqrt"]
    reference: PositiveInt = Field(default=256, description="the batch size that the learning rate is meant for")


class Memory(Frozen):
    """Train in less memory, each way at some cost in time.

    `danlu plan` says how much memory each saves.
    """

    checkpointing: Literal["none", "selective", "full"] | PositiveInt = Field(
        default="none",
        description="recompute activations in the backward pass: of every block (full), of every n-th (a number), "
        "or all but matrix products (selective)",
    )
    offload_activations: bool = Field(default=False, description="keep saved activations on the host")
    offload_optimizer: bool = Field(default=False, description="keep the optimizer's state on the host and step there")
    optimizer_in_backward: bool = Field(
        default=False, description="step each weight as soon as its gradient is computed, and free the gradient"
    )
    loss_chunk: PositiveInt | Literal["auto", "none"] = Field(
        default="auto", description="tokens whose logits a language model keeps in memory at once"
    )


class Checkpoint(Frozen):
    """Save the training state, besides after every validation and when training is stopped."""

    every_steps: PositiveInt | None = None
    every_minutes: PositiveFloat = 10.0
    keep: PositiveInt = Field(default=2, description="how many of the newest to keep, besides the best")


class Threads(Frozen):
    """Set how many threads work; auto takes the cores that this process may use."""

    compute: ThreadCount | Literal["auto"] = "auto"
    data: ThreadCount | Literal["auto"] = "auto"


class Track(Frozen):
    """Send the lines of metrics.jsonl to experiment trackers as well."""

    tensorboard: bool = Field(default=False, description="event files in the run's folder `tensorboard`")
    mlflow: TrackingUri | None = Field(
        default=None, description="a tracking URI, as sqlite:///mlflow.db, whose path begins at the recipe's file"
    )
    wandb: Literal["online", "offline"] | None = Field(
        default=None, description="Weights & Biases; offline writes to the run's folder `wandb`"
    )
    swanlab: Literal["online", "offline", "local"] | None = Field(
        default=None, description="SwanLab; offline and local write to the run's folder `swanlab`"
    )


class Training(Frozen):
    """Configure the training loop."""

    epochs: Annotated[Steps, BeforeValidator(whole_epochs)] | None = Field(
        default=None, description="inferred from the kind of data by default"
    )
    max_steps: Steps | Written | None = Field(
        default=None, description="ends training earlier than `epochs` would; also 1M tokens, 50k samples"
    )
    batch_size: Samples | Literal["auto"] | None = Field(
        default=None,
        description="samples per optimizer step; inferred from the number of rows by default; auto: as many as fit",
    )
    accumulate: Samples = Field(default=1, description="gradient accumulation: parts that each batch is split into")
    optimizer: Annotated[OptimizerOptions, OneOf("optimizer", "adamw")] = Field(default="adamw", validate_default=True)
    schedule: Annotated[ScheduleOptions, OneOf("schedule", "cosine")] | None = Field(
        default=None, description="cosine by default; constant for optimizers that average the weights themselves"
    )
    lr_scaling: LearningRateScaling | None = None
    clip_norm: PositiveFloat | None = Field(default=1.0, description="maximum gradient norm per step")
    clip_value: PositiveFloat | None = Field(default=None, description="maximum absolute value of a gradient's entry")
    l1: NonNegativeFloat = Field(
        default=0.0, description="weight of the sum of |w| in the loss; not of biases and norms"
    )
    l2: NonNegativeFloat = Field(default=0.0, description="weight of half the sum of w^2 in the loss")
    max_norm: PositiveFloat | None = Field(default=None, description="maximum norm of a unit's incoming weights")
    label_smoothing: Fraction = 0.0
    preference: Preference = Preference()
    loss: str | None = Field(default=None, description="a custom loss, as package.module:function")
    from_run: RecipePath | None = Field(
        default=None,
        description="a finished run, or its bundle, whose weights and preparation training begins from; also "
        "`danlu train --from RUN`",
    )
    distill: Distill | None = Field(default=None, description="learn from a teacher model's outputs too")
    sparsity: Sparsity | None = Field(default=None, description="set weights to zero, ever more of them")
    rounding: Rounding | None = Field(
        default=None, description="answer with weights of few bits while they are trained"
    )
    average: Annotated[AverageOptions, OneOf("average")] | None = Field(
        default=None, description="evaluate and keep an average of the weights: ema or swa"
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, description="by default, a suitable patience for some models of tables, else none"
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16", "float8", "bf16-master", "bf16-stochastic"] = Field(
        default="auto",
        description="bf16, fp16 and float8 compute in that precision and keep fp32 weights; bf16-master and "
        "bf16-stochastic keep bf16 weights, updated by way of an fp32 copy or by stochastic rounding",
    )
    memory: Memory = Memory()
    compile: bool | Literal["auto"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps", "xpu", "tpu"] = "auto"
    threads: Threads = Threads()
    checkpoint: Checkpoint = Checkpoint()
    track: Track = Track()
    callbacks: tuple[str, ...] = Field(default=(), description="custom classes, as package.module:Class")
    parallel: Parallel | Literal["auto"] = "auto"
