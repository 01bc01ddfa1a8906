"""Training of small transformers in a pipeline, compared with the same training by one process; for processes."""

import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from danlu.data.loader import Batch
from danlu.data.specs import CorpusInputs, TextInputs
from danlu.errors import ArgumentError
from danlu.models.text.options import Transformer
from danlu.tasks.base import Head
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from danlu.tasks.token_losses import IGNORED
from danlu.training.distributed.pipeline_parallel import STAGES_PER_RANK, Pipeline, local_stage_indices
from danlu.training.distributed.pipeline_stages import build_stage, split_into_stages
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing

VOCABULARY, CLASSES = 300, 3
ROWS = (8, 8, 5, 8, 2, 8)  # of the batches that are trained on
LENGTHS = (12, 12, 12, 9, 12, 12)
PLAIN = LossWeighting(smoothing=0.1)
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=1e-3, eps=1e-6),
}
CHANGES = ("full", "selective", "chunked", "frozen")
TINY = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def build(name: str, blocks: int = 4, **config: Any) -> nn.Module:
    """A small transformer of random weights, the same each time: causal as llama, or of texts as bert."""
    torch.manual_seed(1)
    if name in ("bert", "roberta"):
        dropped = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        options = Transformer(name=f"hf:{name}", config={**TINY, "num_hidden_layers": blocks, **dropped, **config})
        return options.build(TextInputs(vocabulary=VOCABULARY, longest=16, pad=0), CLASSES)
    settings = {**TINY, "num_hidden_layers": blocks, "num_key_value_heads": 2, **config}
    corpus = CorpusInputs(vocabulary=VOCABULARY, longest=16, end=0, packed="packed" in name)
    return Transformer(name=f"hf:{name.removeprefix('packed-')}", config=settings).build(corpus, VOCABULARY)


def head_of(name: str) -> Head:
    return get_task("classification" if name in ("bert", "roberta") else "language-modelling").head(None)


def samples(name: str, rows: int, length: int, number: int) -> Batch:
    """Random texts of unequal length with their classes, or blocks of a corpus with answers that do not count."""
    made = torch.Generator().manual_seed(number)
    ids = torch.randint(1, VOCABULARY, (rows, length), generator=made)
    lengths = torch.randint(length // 2, length + 1, (rows, 1), generator=made)
    present = torch.arange(length) < lengths
    if name in ("bert", "roberta"):
        target = torch.randint(0, CLASSES, (rows,), generator=made)
        inputs = {"input_ids": ids.where(present, 0), "attention_mask": present.long()}
        return Batch(inputs, target, np.arange(rows), 0)
    target = torch.randint(1, VOCABULARY, (rows, length), generator=made).where(present, IGNORED)
    inputs = {"input_ids": ids}
    if name.startswith("packed"):
        inputs["position_ids"] = torch.arange(length).where(present, torch.arange(length) - lengths)
    return Batch(inputs, target, np.arange(rows), 0)


def batches(name: str) -> Iterator[Batch]:
    for number, (rows, length) in enumerate(zip(ROWS, LENGTHS, strict=True)):
        yield samples(name, rows, length, number)


def part_of(batch: Batch, part: int, ways: int) -> Batch:
    """Every `ways`-th sample, from the one numbered `part` on."""
    inputs = {key: values[part::ways] for key, values in batch.inputs.items()}
    return Batch(inputs, batch.target[part::ways], batch.rows[part::ways], batch.epoch)


def alone(name: str, model: nn.Module, optimizer: str) -> tuple[list[float], list[float]]:
    """Train with one process: losses and gradient norms."""
    stepper, head = OPTIMIZERS[optimizer](model.parameters()), head_of(name)
    model.train()
    losses, norms = [], []
    for batch in batches(name):
        stepper.zero_grad()
        total, count = head.loss(model(**batch.inputs), batch.target, PLAIN)
        (total / count).backward()
        losses.append(total.item() / count)
        norms.append(float(torch.stack([w.grad.norm() for w in model.parameters() if w.grad is not None]).norm()))
        stepper.step()
    return losses, norms


def deviation(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest number."""
    one, other = torch.as_tensor(found).detach().double(), torch.as_tensor(expected).detach().double()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


def full(tensor: Tensor) -> Tensor:
    gathered: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered


def sharded(mesh: DeviceMesh) -> Callable[[nn.Module], nn.Module]:
    """Puts FSDP on every block of a stage and on the whole of it, whose weights it gives up after each forward pass."""

    def wrap(stage: Any) -> nn.Module:
        base = stage.network.base_model
        for block in base.layers if hasattr(base, "layers") else base.encoder.layer:
            if next(block.parameters(), None) is not None:
                fully_shard(block, mesh=mesh)
        fully_shard(stage, mesh=mesh)
        return stage

    return wrap


def replicated(mesh: DeviceMesh) -> Callable[[nn.Module], nn.Module]:
    return lambda stage: DistributedDataParallel(stage, process_group=mesh.get_group(), broadcast_buffers=False)


def changed(model: nn.Module, how: str) -> Any:
    """A model as a recipe's other options leave it."""
    if how in ("full", "selective"):
        assert apply_activation_checkpointing(model, how) > 0  # type: ignore[arg-type]
    elif how == "chunked":
        model.loss_chunk = 16  # type: ignore[assignment]
    elif how == "frozen":
        for name, weight in model.named_parameters():
            weight.requires_grad_("layers.3" in name or "lm_head" in name)
    return model


def pipeline_of(
    model: nn.Module,
    schedule: str,
    mesh: DeviceMesh,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    parts: int = 4,
    head: Head | None = None,
    **options: Any,
) -> Pipeline:
    """This process's stages of a model."""
    count = mesh.size() * STAGES_PER_RANK[schedule]
    split_into_stages(model, count)
    held = [
        build_stage(model, index, count) for index in local_stage_indices(schedule, mesh.get_local_rank(), mesh.size())
    ]
    return Pipeline(
        [wrap(s) for s in held] if wrap else held,
        mesh,
        schedule,
        parts,
        (head or head_of("llama")).loss,
        PLAIN,
        **options,
    )


def compare(
    name: str,
    schedule: str,
    optimizer: str,
    mesh: DeviceMesh,
    data: DeviceMesh | None = None,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    parts: int = 4,
    change: str = "none",
    **config: Any,
) -> dict[str, float]:
    """Train in a pipeline and alone; how far losses, gradient norms, weights and evaluation are apart.

    Args:
        mesh: the processes of a pipeline.
        data: those that hold the same stage and take different samples.
        wrap: makes a stage one of `data`.
        change: a name of `CHANGES`.
    """
    model, head = changed(build(name, **config), change), head_of(name)
    whole = copy.deepcopy(model)
    expected_losses, expected_norms = alone(name, whole, optimizer)
    place, copies = (0, 1) if data is None else (data.get_local_rank(), data.size())
    pipeline = pipeline_of(model, schedule, mesh, wrap, parts, head, gradient_divisor=copies)
    weights = {key.removeprefix("module."): w for stage in pipeline.stages for key, w in stage.named_parameters()}
    stepper = OPTIMIZERS[optimizer](weights.values())
    losses, norms = [], []
    for number, batch in enumerate(batches(name)):
        if number == 3:  # validation in the midst leaves training as it is
            evaluation(name, pipeline, copy.deepcopy(whole))
            pipeline.model.train()
            assert weights.keys() == dict(pipeline.model.named_parameters()).keys()
        stepper.zero_grad()
        own, answers = part_of(batch, place, copies), head.num_targets(batch.target)
        summed = pipeline.backward(own, answers)
        squares = torch.zeros(())
        for weight in weights.values():
            squares += 0.0 if weight.grad is None else full(weight.grad).square().sum()
        distributed.all_reduce(squares, group=mesh.get_group())
        if data is not None:
            distributed.all_reduce(summed, group=data.get_group())
        losses.append(float(summed) / answers)
        norms.append(float(squares.sqrt()))
        stepper.step()
    ended = dict(whole.named_parameters())
    # Softmax takes no notice of a bias of keys: its gradient is rounding, which AdamW makes whole steps of.
    apart = {key: deviation(full(w), ended[key]) for key, w in weights.items() if not key.endswith("key.bias")}
    return {
        "loss": deviation(losses, expected_losses),
        "norm": deviation(norms, expected_norms),
        "weights": max(apart.values()),
        **evaluation(name, pipeline, whole),
    }


def evaluation(name: str, pipeline: Pipeline, whole: nn.Module) -> dict[str, float]:
    """How far a pipeline's loss and answers are from those of the whole model, of batches of several sizes."""
    head = head_of(name)
    whole.eval()
    pipeline.model.eval()
    worst = 0.0
    for rows in (6, 1):
        batch = samples(name, rows, 10, 77)
        with torch.inference_mode():
            logits = whole(**batch.inputs)
            expected, answers = head.loss(logits, batch.target, LossWeighting())
            found, count = pipeline.losses(batch.inputs, batch.target, head.loss, LossWeighting())
            assert count == answers
            said = pipeline.forward(batch.inputs, batch.target, head.predict)
            wanted = head.predict(logits, batch.target)
        assert said.shape == wanted.shape
        worst = max(worst, deviation(found, expected), deviation(said, wanted))
    return {"evaluation": worst}


def on_two() -> dict[str, Any]:
    """Every schedule on two processes, and what else a pipeline does."""
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("pipeline",))
    found = {}
    for schedule in STAGES_PER_RANK:
        for optimizer in OPTIMIZERS:
            found[f"llama {schedule} {optimizer}"] = compare("llama", schedule, optimizer, mesh)
        found[f"bert {schedule} sgd"] = compare("bert", schedule, "sgd", mesh)
    found["bert 1f1b adamw"] = compare("bert", "1f1b", "adamw", mesh)
    found["packed llama"] = compare("packed-llama", "1f1b", "sgd", mesh, parts=3)
    found["roberta, one part"] = compare("roberta", "gpipe", "sgd", mesh, parts=1)
    return {"compared": found, "with options": with_options(mesh), "facts": facts(mesh)}


def with_options(mesh: DeviceMesh) -> dict[str, dict[str, float]]:
    """Every schedule with blocks computed again, logits in chunks, and frozen weights."""
    found = {}
    for schedule in STAGES_PER_RANK:
        for change in CHANGES:
            if (schedule, change) != ("zero-bubble", "selective"):
                found[f"{schedule} {change}"] = compare("llama", schedule, "sgd", mesh, change=change)
    for name in ("mistral", "qwen2", "qwen3"):
        found[name] = compare(name, "1f1b", "sgd", mesh)
    return found


def facts(mesh: DeviceMesh) -> dict[str, Any]:
    """What a pipeline does with dropout, bf16, a scaled loss, and a batch in two calls."""
    batch, count = samples("llama", 8, 12, 5), 50
    dropping = pipeline_of(build("llama", attention_dropout=0.5), "1f1b", mesh)
    drops = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drops.append(float(dropping.backward(batch, count)))
    model = build("llama")
    gradients = {}
    for kind in ("once", "scaled", "twice", "bf16"):
        computing = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if kind == "bf16" else nullcontext
        pipeline = pipeline_of(copy.deepcopy(model), "1f1b", mesh, autocast=computing)
        scale = (lambda loss: loss * 4.0) if kind == "scaled" else None
        for part in (part_of(batch, 0, 2), part_of(batch, 1, 2)) if kind == "twice" else (batch,):
            pipeline.backward(part, count, scale)
        gradients[kind] = {key: weight.grad for key, weight in pipeline.model.named_parameters()}
    whole = copy.deepcopy(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = head_of("llama").loss(whole(**batch.inputs), batch.target, PLAIN)
    torch.autograd.backward(total / count)
    gradients["whole bf16"] = {key: weight.grad for key, weight in whole.named_parameters()}

    def apart(one: str, other: str, factor: float = 1.0) -> float:
        pairs = ((gradients[one][key], factor * gradients[other][key]) for key in gradients[one])
        return max(deviation(found, expected) for found, expected in pairs)

    return {
        "dropped": drops,
        "scaled": apart("scaled", "once", 4.0),
        "twice": apart("twice", "once"),
        "bf16": apart("bf16", "whole bf16"),
        "bf16 is not fp32": apart("bf16", "once"),
        "refused": refused(lambda: pipeline_of(changed(build("llama"), "selective"), "zero-bubble", mesh)),
    }


def refused(make: Callable[[], object]) -> str:
    """What is said where something cannot be made."""
    try:
        make()
    except ArgumentError as error:
        return str(error)
    return "made"


def on_four() -> dict[str, Any]:
    """Four stages, and two stages of which two processes each have copies or shares."""
    found = {}
    mesh = init_device_mesh("cpu", (4,), mesh_dim_names=("pipeline",))
    found["1f1b 4"] = compare("llama", "1f1b", "sgd", mesh)
    found["zero-bubble 4"] = compare("llama", "zero-bubble", "sgd", mesh, blocks=9)
    both = init_device_mesh("cpu", (2, 2), mesh_dim_names=("pipeline", "data"))
    across, data = both["pipeline"], both["data"]
    for schedule in STAGES_PER_RANK:
        found[f"{schedule} fsdp"] = compare("llama", schedule, "sgd", across, data, sharded(data))
        if schedule != "zero-bubble":
            found[f"{schedule} ddp"] = compare("llama", schedule, "sgd", across, data, replicated(data))
    for kind, wrap in (("ddp", replicated(data)), ("fsdp", sharded(data))):
        found[f"bert 1f1b {kind} adamw"] = compare("bert", "1f1b", "adamw", across, data, wrap)
    copies = refused(lambda: pipeline_of(build("llama"), "zero-bubble", across, replicated(data)))
    return {"compared": found, "refused": copies}
