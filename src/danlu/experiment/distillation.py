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

from danlu.artifacts.bundle import GOLDEN, REFERENCE, REFERENCE_ROWS, Manifest
from danlu.artifacts.cache import cache_root, cached_dir
from danlu.artifacts.files import read_json, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.console import info, progress
from danlu.core.seeds import Seed
from danlu.data.balance.base import Balancer
from danlu.data.descriptors import RawData
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.checks import DISTILL_KEY as KEY
from danlu.experiment.run_data import TEACHER_FILE, data_digest
from danlu.experiment.seen_rows import count_learned_rows
from danlu.models.bundle_form import open_checked
from danlu.recipe.sections.training import Distill

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.data.balance.apply import BalancedTraining
    from danlu.data.loader import PreparedDataset
    from danlu.experiment.data_context import DataContext, FittedPreprocessing
    from danlu.models.predictor import Predictor

FILE, FORMAT = "lessons.npy", 2
BATCH_SIZE = 64  # samples; affects memory and the last bits of rounding, so it is no setting
BYTES_PER_NUMBER = 4  # float32
BESIDE = (GOLDEN, REFERENCE, REFERENCE_ROWS)  # files of a bundle that its outputs do not depend on
DISK_FRACTION = 0.5  # of free disk space that cached teacher outputs may take


@dataclass(frozen=True)
class Teacher:
    """Hold an opened teacher bundle and the student's data that it labels.

    Attributes:
        predictor: of the bundle; its weights are on the device and need no gradients.
        digest: of everything that determines its outputs.
        context: the student's data, with its recipe.
        preprocessing: the student's.
    """

    predictor: "Predictor"
    digest: str
    context: "DataContext"
    preprocessing: "FittedPreprocessing"
    device: "torch.device"
    groups: "ProcessGroups"

    @classmethod
    def open(
        cls,
        context: "DataContext",
        preprocessing: "FittedPreprocessing",
        device: "torch.device",
        groups: "ProcessGroups",
    ) -> "Teacher":
        """Open the bundle that `training.distill` names.

        Raises:
            ArgumentError: it has another task or other labels.
            ArtifactError: it is damaged.
        """
        from danlu.models.predictor import Predictor

        options = _options(context)
        bundle = open_checked(options.teacher)
        _check_same_task(bundle.manifest, preprocessing, options)
        predictor = Predictor.load(bundle, recipe_model=context.model)
        predictor.model.to(device).requires_grad_(False)
        if groups.is_main:
            _warn_of_seen_test_rows(context, options)
        digest = _teacher_digest(bundle.manifest, bundle.config)
        return cls(predictor, digest, context, preprocessing, device, groups)

    @property
    def shares_preprocessing(self) -> bool:
        """Whether the teacher can read the student's samples as they are."""
        return bool(self.predictor.preprocessor == self.preprocessing.preprocessor)

    def add_outputs(self, balanced: "BalancedTraining", student: "nn.Module") -> "BalancedTraining":
        """Have the training loader bring the teacher's outputs as well.

        Args:
            balanced: made from the teacher's context.
            student: untrained; gets a projection for feature distillation if the recipe asks for it.

        Raises:
            ArgumentError: the teacher cannot read the student's samples, or one of the two has no such states.
            DataError: the data lacks a column that the teacher needs.
        """
        from danlu.training.distillation import CachedTeacher, DistillationTransform, OnlineTeacher

        # 1. Outputs that differ between epochs cannot be cached, and then the teacher must read the student's batches.
        reason = _online_reason(self.context)
        if reason and not self.shares_preprocessing:
            raise ArgumentError(
                f"{KEY}.teacher: {_options(self.context).teacher} preprocesses its samples differently from this "
                f"model, so it cannot run {reason[0]}; remove {reason[1]}, or train a teacher with the same "
                "preprocessing (the same columns and rows, image size and normalization, or tokenizer)",
                code="DL515",
            )
        # 2. What the teacher reads: the student's samples, or the same rows prepared in its own way.
        dataset = balanced.loader.dataset if self.shares_preprocessing else self._own_dataset()
        # 3. Its hidden states are hooked before it runs for the first time, since they come with its logits.
        read_states = None
        if _options(self.context).hidden is not None:
            read_states = self._add_feature_distillation(dataset, balanced.loader.dataset, student)
        outputs = partial(self._outputs, read_states)
        # 4. It runs now, once for all samples, or later in every step.
        source: OnlineTeacher | CachedTeacher
        if reason:
            info(f"the teacher runs in every training step, {reason[0]}")
            source = OnlineTeacher(outputs)
        else:
            source = CachedTeacher(self._cached_outputs(outputs, dataset))
        classes = self.context.dataset.task.num_classes(self.preprocessing.target)
        transforms = (*balanced.loader.transforms, DistillationTransform(source, classes))
        return replace(balanced, loader=replace(balanced.loader, transforms=transforms))

    def _own_dataset(self) -> "PreparedDataset":
        """Preprocess the training rows with the teacher's own preprocessor."""
        from danlu.data.preprocessing import prepare_split

        balancer, data = Balancer.of(self.context.recipe.data.balance), self.context.dataset
        if type(balancer).resample is not Balancer.resample:
            raise ArgumentError(
                f"data.balance: {balancer.name} resamples the training rows, and the teacher ({KEY}.teacher) "
                "preprocesses the raw ones in its own way; use class-weights, or train a teacher with the same "
                "preprocessing",
                code="DL515",
            )
        self.predictor.require_columns(RawData(data.frame, data.origin, data.folder))
        return prepare_split(self.predictor.preprocessor, self.context.splits.train, self.context.origin)

    def _add_feature_distillation(
        self, dataset: "PreparedDataset", student_dataset: "PreparedDataset", student: "nn.Module"
    ) -> "Callable[[], list[torch.Tensor]]":
        """Add the projection to the student; return a function that reads the teacher's matching states.

        Raises:
            ArgumentError: student or teacher has no such states.
        """
        import torch

        from danlu.models.hidden_states import HiddenStateHook, collect_hidden_states
        from danlu.training.distillation import add_feature_distillation, teacher_layer

        hidden, model = _options(self.context).hidden, self.predictor.model
        assert hidden is not None
        whose = f"{KEY}.hidden: the teacher ({self.predictor.options.name})"
        hook = HiddenStateHook(model, hidden.states, whose)
        found = collect_hidden_states(model, hook, _sample_inputs(dataset, self.device), whose)
        if len({values.shape[-1] for values in found}) > 1:
            raise ArgumentError(f"{whose} has layers of different widths; use states: features", code="DL515")
        few, seed = _sample_inputs(student_dataset, torch.device("cpu")), Seed(self.context.recipe.seed).derive("hint")
        own = f"{KEY}.hidden: {self.context.model.name}"
        layers = add_feature_distillation(student, hidden.states, few, found[0].shape[-1], seed, own)
        chosen = [teacher_layer(layer, layers, len(found)) - 1 for layer in range(1, layers + 1)]

        def read_states() -> "list[torch.Tensor]":
            states = hook.pop_states()
            return [states[layer] for layer in chosen]

        return read_states

    def _outputs(
        self, read_states: "Callable[[], list[torch.Tensor]] | None", inputs: "dict[str, torch.Tensor]"
    ) -> "torch.Tensor":
        """Return a batch's targets, [batch, outputs]: the teacher's logits, then its hidden states."""
        import torch

        logits = self._logits(inputs)
        if read_states is None:
            return logits
        return torch.cat([logits, *(values.float().flatten(1) for values in read_states())], dim=1)

    def _logits(self, inputs: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """Return the logits in the student's label order, or numbers in the student's standardization."""
        from danlu.training.distillation import network_logits

        task = self.context.dataset.task
        found = network_logits(self.predictor.model, inputs, task)
        return task.align_teacher(found, self.predictor.target, self.preprocessing.target)

    def _cached_outputs(
        self, outputs: "Callable[[dict[str, torch.Tensor]], torch.Tensor]", dataset: "PreparedDataset"
    ) -> "torch.Tensor | np.ndarray":
        """Return the outputs on all training samples, [samples, outputs], cached between runs.

        The main process computes them batch by batch. They stay a memory-mapped file unless the device has room for
        all.
        """
        import torch

        from danlu.data.loader import fits_on_device

        def make(folder: Path) -> None:
            width = outputs(_sample_inputs(dataset, self.device)).shape[1]
            _require_disk_space(len(dataset), width)
            found = np.lib.format.open_memmap(folder / FILE, "w+", np.float32, (len(dataset), width))
            begin = 0
            with progress("teacher outputs", len(dataset), "samples") as bar:
                for rows, inputs, _ in dataset.iter_batches(BATCH_SIZE, self.device):
                    found[begin : begin + len(rows)] = outputs(inputs).cpu().numpy()
                    begin += len(rows)
                    bar.advance(len(rows))
            found.flush()

        if not self.groups.is_main:
            self.groups.barrier()
        values: np.ndarray = np.load(cached_dir("teachers", self._cache_key(), make) / FILE, mmap_mode="r")
        if self.groups.is_main:
            self.groups.barrier()
        on_device = fits_on_device(values.nbytes, self.device)
        return torch.from_numpy(np.array(values)).to(self.device) if on_device else values

    def _cache_key(self) -> list[object]:
        """Return everything that determines the outputs on the training samples."""
        import torch

        context, target = self.context, self.preprocessing.target.model_dump(mode="json")
        has_states = _options(context).hidden is not None
        rows = _training_rows_digest(context)
        made_from = [FORMAT, self.digest, target, rows, self.shares_preprocessing, self.device.type, has_states]
        balance = context.recipe.data.balance.model_dump(mode="json")
        return [*made_from, torch.__version__, balance, context.recipe.seed]


def _options(context: "DataContext") -> Distill:
    """Return the recipe's `training.distill`."""
    options = context.recipe.training.distill
    assert options is not None
    return options


def _online_reason(context: "DataContext") -> tuple[str, str] | None:
    """Return why the teacher runs in every step, and which key causes it.

    None if its outputs can be cached.
    """
    options = _options(context)
    if context.dataset.task.per_token:
        return "on every token", KEY
    if context.recipe.data.augment:
        return "on samples that data.augment changes", "data.augment"
    if options.hidden is not None and options.hidden.states == "layers":
        return "for token states, which are not cached", f"{KEY}.hidden.states"
    return None


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
            "set the environment variable DANLU_CACHE to a folder with more space",
            code="DL306",
        )


def save_teacher_digest(run: RunDirectory, digest: str) -> None:
    """Write the teacher's digest into a run; nothing without a teacher."""
    if digest:
        write_json(run.path / "data" / TEACHER_FILE, {"sha256": digest})


def check_teacher_unchanged(run: RunDirectory, digest: str) -> None:
    """Raise ArtifactError if the teacher of a resumed run has changed."""
    if digest and read_json(run.path / "data" / TEACHER_FILE)["sha256"] != digest:
        raise ArtifactError(
            f"{run.path}: the teacher ({KEY}.teacher) has changed since the run started; restore it, or train again",
            code="DL313",
        )


def _teacher_digest(manifest: Manifest, config: object) -> str:
    """Return the SHA-256 of everything that determines a bundle's outputs; golden samples do not."""
    files = {name: digest for name, digest in manifest.files.items() if name not in BESIDE}
    told = json.dumps([files, manifest.preprocessing, config], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _check_same_task(manifest: Manifest, preprocessing: "FittedPreprocessing", options: Distill) -> None:
    """Raise ArgumentError unless teacher and student have the same task and labels."""
    output, target = manifest.output, preprocessing.target
    if manifest.task != target.task:
        raise ArgumentError(
            f"{KEY}.teacher: {options.teacher} is a {manifest.task} model and this task is {target.task}; choose a "
            "teacher of the same task",
            code="DL515",
        )
    labels = getattr(target, "labels", None)
    if labels is not None:
        missing = [label for label in labels if label not in output["labels"]]
        unknown = [label for label in output["labels"] if label not in labels]
        if missing or unknown:
            more = f"does not know {missing[0]!r}" if missing else f"knows {unknown[0]!r} as well"
            raise ArgumentError(
                f"{KEY}.teacher: {options.teacher} {more}; teacher and student must have the same labels", code="DL515"
            )


def _training_rows_digest(context: "DataContext") -> str:
    """Return the SHA-256 of the data and of which rows train."""
    rows = context.splits.train.rows.astype(np.int64).tobytes()
    whole = data_digest(context.dataset, context.dataset.frame.height)
    return hashlib.sha256(rows + whole.encode()).hexdigest()


def _warn_of_seen_test_rows(context: "DataContext", options: Distill) -> None:
    """Warn if the teacher was trained on the student's test rows, by its run's split."""
    seen = count_learned_rows(context, Path(options.teacher), context.splits.test)
    if seen:
        info(
            f"warning: the teacher was trained on {seen:,} of this model's {len(context.splits.test):,} test rows and "
            "may leak them; use the same split and seed for both"
        )
