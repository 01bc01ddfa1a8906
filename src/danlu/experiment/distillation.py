"""Knowledge distillation (`training.distill`): a teacher bundle's logits and hidden states on the training rows.

Computed once and cached if samples are the same in every epoch; otherwise in each step on the student's batch. Token
states are always computed in each step, since they would take too much disk space.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.artifacts.bundle import GOLDEN, Manifest, open_bundle
from danlu.artifacts.cache import cache_root, cached_dir
from danlu.artifacts.files import read_frame, read_json, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.console import info, progress
from danlu.core.seeds import Seed
from danlu.data.balance.base import Balancer
from danlu.data.dataset import Dataset
from danlu.data.descriptors import RawData
from danlu.errors import ArgumentError, ArtifactError, Problem, RecipeError
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.training import Distill

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.data.balance.apply import BalancedTraining
    from danlu.data.loader import PreparedDataset
    from danlu.experiment.data_context import DataContext, FittedPreprocessing
    from danlu.models.predictor import Predictor

KEY = "training.distill"
FILE, FORMAT = "lessons.npy", 2
TEACHER_FILE = "teacher.json"
BATCH_SIZE = 64  # samples; affects memory and the last bits of rounding, so it is no setting
BYTES_PER_NUMBER = 4  # float32
DISK_FRACTION = 0.5  # of free disk space that cached teacher outputs may take
TOKEN_TASKS = ("token-classification", "language-modelling")
DISTILLABLE_TASKS = ("classification", "multi-label", "regression", *TOKEN_TASKS)


@dataclass(frozen=True)
class TeacherTargets:
    """Hold a training split whose loader also yields the teacher's outputs.

    Attributes:
        balanced: its loader appends the teacher's outputs to each batch.
        digest: of everything that determines the teacher's outputs.
    """

    balanced: "BalancedTraining"
    digest: str


def check_distillation(recipe: Recipe, dataset: Dataset) -> None:
    """Raise RecipeError if distillation does not fit the task or the rest of the recipe."""
    options = recipe.training.distill
    if options is None:
        return
    if dataset.task not in DISTILLABLE_TASKS:
        message = f"distillation works for {', '.join(DISTILLABLE_TASKS)}; this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", KEY, message))
    if dataset.task == "regression" and options.temperature is not None:
        message = "a temperature applies to class probabilities, and this task is regression; remove it"
        raise RecipeError(Problem("", f"{KEY}.temperature", message))
    if dataset.task in TOKEN_TASKS and options.hidden is not None:
        message = f"needs one prediction per sample, and this task is {dataset.task}; remove it"
        raise RecipeError(Problem("", f"{KEY}.hidden", message))
    if recipe.evaluation.folds is not None:
        message = "the teacher was trained on rows that the folds would test; remove folds or training.distill"
        raise RecipeError(Problem("", "evaluation.folds", message))


def add_teacher(
    opened: "DataContext",
    prepared: "FittedPreprocessing",
    balanced: "BalancedTraining",
    options: Distill,
    model: "nn.Module",
    device: "torch.device",
    groups: "ProcessGroups",
) -> TeacherTargets:
    """Add the teacher's outputs to the training split.

    Args:
        opened: the data that `balanced` was made from.
        model: the untrained student; gets a projection for feature distillation if the recipe asks for it.

    Raises:
        ArgumentError: the teacher has another task or labels, or cannot read the student's samples.
        ArtifactError: the teacher's bundle is damaged.
        DataError: the data lacks a column that the teacher needs.
    """
    from danlu.data.targets import ClassTarget
    from danlu.models.predictor import Predictor
    from danlu.training.distillation import CachedTeacher, DistillationTransform, OnlineTeacher

    bundle = open_bundle(options.teacher)
    _check_same_task(bundle.manifest, prepared, options)
    teacher = Predictor.from_bundle(bundle)
    teacher.model.to(device).requires_grad_(False)
    _warn_of_seen_test_rows(opened, options, groups)
    digest, alike = _teacher_digest(bundle.manifest, bundle.config), teacher.preprocessor == prepared.preprocessor
    why = _online_reason(opened, options)
    if why and not alike:
        raise ArgumentError(
            f"{KEY}.teacher: {options.teacher} preprocesses its samples differently from this model, so it cannot run "
            f"{why[0]}; remove {why[1]}, or train a teacher with the same preprocessing (the same columns and rows, "
            "image size and normalization, or tokenizer)"
        )
    examples = balanced.loader.dataset if alike else _prepare_for_teacher(teacher, opened)
    read = None
    if options.hidden is not None:
        read = _add_feature_distillation(options, teacher, examples, model, balanced, opened, device)
    lesson = partial(_teacher_outputs, teacher, prepared, read)
    if why:
        info(f"the teacher runs in every training step, {why[0]}")
    ask: OnlineTeacher | CachedTeacher = OnlineTeacher(lesson)
    if not why:
        made_from = _cache_key(opened, prepared, options, alike, digest, device)
        ask = CachedTeacher(_cached_teacher_outputs(lesson, examples, made_from, device, groups))
    classes = prepared.target.outputs if isinstance(prepared.target, ClassTarget) else None
    feed = replace(balanced.loader, transforms=(*balanced.loader.transforms, DistillationTransform(ask, classes)))
    return TeacherTargets(replace(balanced, loader=feed), digest)


def _online_reason(opened: "DataContext", options: Distill) -> tuple[str, str] | None:
    """Return why the teacher runs in every step, and which key causes it.

    None if its outputs can be cached.
    """
    if opened.dataset.task in TOKEN_TASKS:
        return "on every token", KEY
    if opened.recipe.data.augment:
        return "on samples that data.augment changes", "data.augment"
    if options.hidden is not None and options.hidden.states == "layers":
        return "for token states, which are not cached", f"{KEY}.hidden.states"
    return None


def _add_feature_distillation(
    options: Distill,
    teacher: "Predictor",
    examples: "PreparedDataset",
    model: "nn.Module",
    balanced: "BalancedTraining",
    opened: "DataContext",
    device: "torch.device",
) -> "Callable[[], list[torch.Tensor]]":
    """Add the projection to the student; return a function that reads the teacher's matching states.

    Raises:
        ArgumentError: student or teacher has no such states.
    """
    import torch

    from danlu.models.hidden_states import HiddenStateHook, collect_hidden_states
    from danlu.training.distillation import add_feature_distillation, teacher_layer

    assert options.hidden is not None
    states, theirs = options.hidden.states, f"{KEY}.hidden: the teacher ({teacher.options.name})"
    reader = HiddenStateHook(teacher.model, states, theirs)
    found = collect_hidden_states(teacher.model, reader, _sample_inputs(examples, device), theirs)
    if len({values.shape[-1] for values in found}) > 1:
        raise ArgumentError(f"{theirs} has layers of different widths; use states: features")
    own = f"{KEY}.hidden: {opened.model.name}"
    few, seed = _sample_inputs(balanced.loader.dataset, torch.device("cpu")), Seed(opened.recipe.seed).derive("hint")
    layers = add_feature_distillation(model, states, few, found[0].shape[-1], seed, own)
    chosen = [teacher_layer(layer, layers, len(found)) - 1 for layer in range(1, layers + 1)]

    def read() -> "list[torch.Tensor]":
        there = reader.pop_states()
        return [there[layer] for layer in chosen]

    return read


def _sample_inputs(examples: "PreparedDataset", device: "torch.device") -> "dict[str, torch.Tensor]":
    """Return the inputs of the first two samples."""
    inputs, _ = examples.take(np.arange(min(2, len(examples))), device)
    return inputs


def _require_disk_space(samples: int, width: int) -> None:
    """Raise ArtifactError if the disk has no room for the cached teacher outputs.

    Running the teacher in every step instead would change the last bits, so that a run would not resume exactly.
    """
    root = cache_root()
    standing = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
    free, needed = shutil.disk_usage(standing).free, BYTES_PER_NUMBER * samples * width
    if needed > DISK_FRACTION * free:
        raise ArtifactError(
            f"{KEY}: the teacher's outputs take {needed / 1e9:,.1f} GB, and {standing} has {free / 1e9:,.1f} GB free; "
            "set the environment variable DANLU_CACHE to a folder with more space"
        )


def save_teacher_digest(run: RunDirectory, digest: str) -> None:
    """Write the teacher's digest into a run; nothing without a teacher."""
    if digest:
        write_json(run.path / "data" / TEACHER_FILE, {"sha256": digest})


def check_teacher_unchanged(run: RunDirectory, digest: str) -> None:
    """Raise ArtifactError if the teacher of a resumed run has changed."""
    if digest and read_json(run.path / "data" / TEACHER_FILE)["sha256"] != digest:
        raise ArtifactError(
            f"{run.path}: the teacher ({KEY}.teacher) has changed since the run started; restore it, or train again"
        )


def _check_same_task(manifest: Manifest, prepared: "FittedPreprocessing", options: Distill) -> None:
    """Raise ArgumentError unless teacher and student have the same task and labels."""
    from danlu.data.targets import ClassTarget, MultiLabelTarget, TagTarget

    output, target = manifest.output, prepared.target
    if manifest.task != target.task:
        raise ArgumentError(
            f"{KEY}.teacher: {options.teacher} is a {manifest.task} model and this task is {target.task}; choose a "
            "teacher of the same task"
        )
    if isinstance(target, ClassTarget | MultiLabelTarget | TagTarget):
        missing = [label for label in target.labels if label not in output["labels"]]
        unknown = [label for label in output["labels"] if label not in target.labels]
        if missing or unknown:
            more = f"does not know {missing[0]!r}" if missing else f"knows {unknown[0]!r} as well"
            raise ArgumentError(
                f"{KEY}.teacher: {options.teacher} {more}; teacher and student must have the same labels"
            )


def _teacher_outputs(
    teacher: "Predictor",
    prepared: "FittedPreprocessing",
    read: "Callable[[], list[torch.Tensor]] | None",
    inputs: "dict[str, torch.Tensor]",
) -> "torch.Tensor":
    """Return a batch's targets, [batch, outputs]: the teacher's logits, then its hidden states."""
    import torch

    logits = _teacher_logits(teacher, prepared, inputs)
    if read is None:
        return logits
    return torch.cat([logits, *(values.float().flatten(1) for values in read())], dim=1)


def _teacher_logits(
    teacher: "Predictor", prepared: "FittedPreprocessing", inputs: "dict[str, torch.Tensor]"
) -> "torch.Tensor":
    """Return the teacher's logits in the student's label order, or numbers in the student's standardization."""
    from danlu.data.targets import ClassTarget, MultiLabelTarget, NextTokenTarget, NumericTarget, TagTarget
    from danlu.training.distillation import network_logits

    found, own, student = network_logits(teacher.model, inputs, prepared.target.task), teacher.target, prepared.target
    if isinstance(own, NumericTarget) and isinstance(student, NumericTarget):
        return (found * own.std + (own.mean - student.mean)) / student.std
    if isinstance(own, NextTokenTarget):
        return found
    known = (ClassTarget, MultiLabelTarget, TagTarget)
    assert isinstance(own, known) and isinstance(student, known)
    if own.labels == student.labels:
        return found
    return found[..., [own.labels.index(label) for label in student.labels]]


def _cached_teacher_outputs(
    lesson: "Callable[[dict[str, torch.Tensor]], torch.Tensor]",
    examples: "PreparedDataset",
    made_from: list[object],
    device: "torch.device",
    groups: "ProcessGroups",
) -> "torch.Tensor | np.ndarray":
    """Return the teacher's outputs on all training samples, [samples, outputs], cached between runs.

    The main process computes them batch by batch. They stay a memory-mapped file unless the device has room for all.
    """
    import torch

    from danlu.data.loader import fits_on_device

    def make(folder: Path) -> None:
        width = lesson(_sample_inputs(examples, device)).shape[1]
        _require_disk_space(len(examples), width)
        found = np.lib.format.open_memmap(folder / FILE, "w+", np.float32, (len(examples), width))
        begin = 0
        with progress("teacher outputs", len(examples), "samples") as bar:
            for rows, inputs, _ in examples.iter_batches(BATCH_SIZE, device):
                found[begin : begin + len(rows)] = lesson(inputs).cpu().numpy()
                begin += len(rows)
                bar.advance(len(rows))
        found.flush()

    if not groups.is_main:
        groups.barrier()
    lessons: np.ndarray = np.load(cached_dir("teachers", made_from, make) / FILE, mmap_mode="r")
    if groups.is_main:
        groups.barrier()
    return torch.from_numpy(np.array(lessons)).to(device) if fits_on_device(lessons.nbytes, device) else lessons


def _cache_key(
    opened: "DataContext",
    prepared: "FittedPreprocessing",
    options: Distill,
    alike: bool,
    digest: str,
    device: "torch.device",
) -> list[object]:
    """Return everything that determines the teacher's outputs on the training samples."""
    import torch

    target, states = prepared.target.model_dump(mode="json"), options.hidden is not None
    made_from: list[object] = [FORMAT, digest, target, _training_rows_digest(opened), alike, device.type, states]
    return [*made_from, torch.__version__, opened.recipe.data.balance.model_dump(mode="json"), opened.recipe.seed]


def _prepare_for_teacher(teacher: "Predictor", opened: "DataContext") -> "PreparedDataset":
    """Preprocess the training rows with the teacher's own preprocessor."""
    from danlu.data.preprocessing import prepare_split

    balancer, dataset = opened.recipe.data.balance, opened.dataset
    assert isinstance(balancer, Balancer)
    if type(balancer).resample is not Balancer.resample:
        raise ArgumentError(
            f"data.balance: {balancer.name} resamples the training rows, and the teacher ({KEY}.teacher) preprocesses "
            "the raw ones in its own way; use class-weights, or train a teacher with the same preprocessing"
        )
    teacher.require_columns(RawData(dataset.frame, dataset.origin, dataset.folder))
    return prepare_split(teacher.preprocessor, opened.splits.train, opened.origin)


def _teacher_digest(manifest: Manifest, config: object) -> str:
    """Return the SHA-256 of everything that determines a bundle's outputs; golden samples do not."""
    files = {name: digest for name, digest in manifest.files.items() if name != GOLDEN}
    told = json.dumps([files, manifest.preprocessing, config], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _training_rows_digest(opened: "DataContext") -> str:
    """Return the SHA-256 of the data and of which rows train."""
    from danlu.experiment.data_context import data_digest

    rows = opened.splits.train.rows.astype(np.int64).tobytes()
    whole = data_digest(opened.dataset, opened.dataset.frame.height)
    return hashlib.sha256(rows + whole.encode()).hexdigest()


def _warn_of_seen_test_rows(opened: "DataContext", options: Distill, groups: "ProcessGroups") -> None:
    """Warn if the teacher was trained on the student's test rows, by its run's split."""
    from danlu.experiment.data_context import PROFILE_FILE, SPLIT_FILE, data_digest

    folder = Path(options.teacher) / "data"
    if not groups.is_main or not (folder / SPLIT_FILE).is_file() or not (folder / PROFILE_FILE).is_file():
        return
    known = read_json(folder / PROFILE_FILE)
    height = opened.dataset.frame.height
    if known["rows"] > height or known.get("sha256") != data_digest(opened.dataset, known["rows"]):
        return
    learned = read_frame(folder / SPLIT_FILE).filter(pl.col("part") == "train")["row"].to_numpy()
    seen = int(np.isin(opened.splits.test.rows, learned).sum())
    if seen:
        info(
            f"warning: the teacher was trained on {seen:,} of this model's {len(opened.splits.test):,} test rows and "
            "may leak them; use the same split and seed for both"
        )
