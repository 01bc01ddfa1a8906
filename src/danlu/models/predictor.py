"""Predictions from a bundle: frames, images or texts in, one row of predictions per sample out, in order.

Used by `danlu predict`, by evaluation and by everything that serves or changes a model, so all of them preprocess
inputs in the same way.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from pydantic import PositiveInt

from danlu.artifacts.bundle import GOLDEN, Bundle
from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.component import components
from danlu.core.console import info, suppressed
from danlu.core.display import render_html
from danlu.core.text import suggestion
from danlu.data.descriptors import Origin, RawData
from danlu.data.frames import collect_streaming, iter_windows
from danlu.data.kind import SAMPLES, Preprocessor
from danlu.data.kinds.table import get_kind
from danlu.data.preprocessing import BLOCK_ROWS
from danlu.data.reading.later import ROW_ERROR, read_as_trained, saved_missing_values
from danlu.data.reference import trained_ranges
from danlu.data.row_errors import Broken, RowErrors, advice_to_predict, without_errors
from danlu.data.sources.tags import stack_ragged
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.text.preprocessor import BlockPreprocessor
from danlu.errors import ArgumentError, ArtifactError, DataError, MissingExtra
from danlu.models.base import Interpretable, Model
from danlu.models.bundle_form import open_checked, refuse_malformed
from danlu.models.engines.base import Engine, EngineSource
from danlu.models.engines.table import engines_for
from danlu.models.engines.torch_engine import TorchEngine
from danlu.models.golden import ANSWER, PREDICTION, golden_inputs
from danlu.tasks.base import Target
from danlu.tasks.table import parse_target, task_of

if TYPE_CHECKING:
    import torch
    from torch import nn

GOLDEN_TOLERANCE = TorchEngine.tolerance


class Predictor:
    """Predict with a bundle's model and its preprocessing.

    Attributes:
        manifest: the bundle's description of the model and its inputs.
        kind: the kind of data that the model takes.
        preprocessor: raw rows -> model inputs.
        target: model outputs -> predictions.
        options: the model's options, as kept in the bundle.
        engine: what computes the network.

    Example:
        >>> import danlu
        >>> model = danlu.load("runs/wine")
        >>> row = {name: 1.0 for name in model.preprocessor.columns}
        >>> model.predict(row).height
        1
    """

    def __init__(
        self, source: EngineSource, *, preprocessor: Preprocessor, target: Target, engine: Engine | None = None
    ) -> None:
        self._source, self.manifest, self.options = source, source.bundle.manifest, source.options
        self.preprocessor, self.target = preprocessor, target
        self.kind = get_kind(self.manifest.kind)
        self.ranges = trained_ranges(source.bundle.reference())
        self.head = task_of(target).head(target)
        self.engine = engine or TorchEngine.open(source)

    def __repr__(self) -> str:
        columns = len(self.preprocessor.columns)
        return f"{type(self).__name__}({self.options.name}, {self.manifest.task}, {columns} columns)"

    def _repr_html_(self) -> str | None:
        """Draw the predictor for a notebook."""
        return render_html("predictor", self)

    @classmethod
    def load(
        cls,
        source: StrPath | Bundle,
        *,
        engine: str | None = None,
        own_code: bool = False,
        recipe_model: Model | None = None,
        replay: bool = True,
    ) -> Self:
        """Open a bundle or a run on this machine's device and replay its golden samples.

        Whoever uses a bundle opens it here: checksums, replay, and no code unasked.

        Args:
            source: folder of a bundle or a run, or a bundle that is open already.
            engine: what computes the network: `numpy` or `torch`; by default the first of the bundle's own order that
                answers its golden samples as they were recorded.
            own_code: allow importing the user's module that a custom model names.
            recipe_model: the model of the user's own recipe; its code is allowed where the bundle's model is that one.
            replay: answer the golden samples; else whoever opens it calls `replay` itself before it answers anything.

        Raises:
            ArgumentError: there is no such engine, or it cannot answer this bundle.
            ArtifactError: the bundle is damaged, its golden predictions changed, or it needs code that is not allowed.
            MissingExtra: the model needs packages that are not installed.
        """
        bundle = source if isinstance(source, Bundle) else open_checked(source)
        with refuse_malformed(bundle):
            manifest, options = bundle.manifest, model_options(bundle.config)
            preprocessor = get_kind(manifest.kind).preprocessor.model_validate(manifest.preprocessing)
            target = parse_target(manifest.output)
            opened = EngineSource(bundle, options, preprocessor.inputs, target, own_code, recipe_model)
            golden = bundle.golden() if replay else None
        *others, last = engines_for(opened, engine)
        for tried in others:
            try:
                return cls._open(opened, preprocessor, target, tried, golden)
            except (ArtifactError, MissingExtra) as error:
                info(f"the engine {tried.name} does not answer, the next one does: {error}")
        return cls._open(opened, preprocessor, target, last, golden)

    @classmethod
    def _open(
        cls,
        source: EngineSource,
        preprocessor: Preprocessor,
        target: Target,
        engine: type[Engine],
        golden: pl.DataFrame | None,
    ) -> Self:
        """Open a bundle in one engine, and replay its golden samples."""
        with refuse_malformed(source.bundle):
            predictor = cls(source, preprocessor=preprocessor, target=target, engine=engine.open(source))
            if golden is not None:
                predictor.replay(golden)
        return predictor

    @property
    def bundle(self) -> Bundle:
        """The files that it was opened from."""
        return self._source.bundle

    @property
    def source(self) -> EngineSource:
        """What engines open."""
        return self._source

    @property
    def model(self) -> "nn.Module":
        """The network in torch, on `device`.

        Whoever asks for it may change it, so from then on it answers, whatever engine did before.
        """
        return self._in_torch().network

    @property
    def device(self) -> "torch.device":
        """Where `model` is."""
        return self._in_torch().device

    def _in_torch(self) -> TorchEngine:
        self.engine = self.open_in_torch()
        return self.engine

    def open_in_torch(self) -> TorchEngine:
        """Return the network in torch; the engine that answers stays what it is."""
        return self.engine if isinstance(self.engine, TorchEngine) else TorchEngine.open(self._source)

    def with_model(self, model: "nn.Module") -> Self:
        """Return a copy that uses another network with the same preprocessing and target."""
        engine = TorchEngine(model, self.device)
        return type(self)(self._source, preprocessor=self.preprocessor, target=self.target, engine=engine)

    @checked
    def predict(self, samples: Any, *, batch_size: PositiveInt | None = None, broken: Broken = "row") -> pl.DataFrame:
        """Predict samples.

        Args:
            samples: a frame (polars or pandas), an Arrow table, a dict of columns or a list of dicts; one row as a dict
                or a pandas Series; a matrix [samples, columns] in the order of training; for image models also paths,
                bytes, PIL images, arrays or tensors, one or several (see the guide); for text models also a text or a
                list of texts; for chat models a list of messages, or a list of such lists.
            batch_size: samples per forward pass; by default the one used in the model's evaluation.
            broken: a row that cannot be answered, such as a broken image, has no prediction and its reason in the
                column `error` (`row`), is left out (`skip`), or is refused with all others (`fail`).

        Returns:
            one row per sample, in order. Classification: `prediction`, `probability`, `probability_LABEL` …, and with
            conformal quantiles `prediction_set`, the list of labels; tagging: `prediction`, the list of tags;
            multi-label: `prediction`, the list of predicted labels, and `probability_LABEL` …; regression:
            `prediction`, and with conformal quantiles `low` and `high`; language models: `tokens`, `loss` (nats per
            token) and `perplexity`, counting only the assistant's tokens of conversations; preferences: `chosen` and
            `rejected` (log-probabilities), `prefers_chosen`.

        Raises:
            DataError: they are of another form, a column is missing, or a value does not have its column's type.
        """
        return self.predict_source(self.read_samples(samples), batch_size=batch_size, broken=broken)

    def read_samples(self, samples: Any) -> RawData:
        """Return samples as `predict` takes them as rows whose columns are read as in training.

        Raises:
            DataError: they are of another form.
        """
        return self._read(self._frame(samples), SAMPLES)

    def outputs_of(self, frame: pl.DataFrame, *, origin: str) -> np.ndarray:
        """Return the calibrated outputs for rows in memory, [samples, ...], each read as in training.

        Raises:
            DataError: a value does not have its column's type.
        """
        rows = self._read(frame, origin)
        collect_row_errors(rows, None)
        return self.outputs(Split.of(rows.frame), Origin(origin, rows.folder))

    def _read(self, frame: pl.DataFrame, origin: str) -> RawData:
        rows = RawData(frame, origin, Path.cwd())
        missing_values = saved_missing_values(self.manifest.reading)
        return read_as_trained(rows, self.manifest.columns, missing_values, self.ranges)

    def predict_source(
        self, source: RawData, *, batch_size: int | None = None, broken: Broken = "row", first_row: int = 0
    ) -> pl.DataFrame:
        """Predict the rows of a source; like `predict`.

        Args:
            source: the rows.
            batch_size, broken: as of `predict`.
            first_row: the place of the first one in the whole of which these are a part, for errors.
        """
        source = self.kind.read_samples(source, self.preprocessor.columns)
        errors = None if broken == "fail" else RowErrors()
        collect_row_errors(source, errors, first_row)
        place = Origin(source.origin, source.folder, errors)
        self.require_columns(source)
        if source.frame.height == 0:
            raise DataError(f"{source.origin}: has no rows", code="DL203")
        try:
            outputs = self.outputs(Split.of(source.frame), place, batch_size=batch_size)
        except DataError as error:
            raise advice_to_predict(error) from error.__cause__
        answers = self.decode(outputs, source.origin, errors, first_row=first_row)
        if errors is None:
            return answers
        return without_errors(errors.mark(answers)) if broken == "skip" else errors.mark(answers)

    def decode(self, outputs: np.ndarray, origin: str, errors: RowErrors | None, *, first_row: int = 0) -> pl.DataFrame:
        """Return calibrated outputs as readable predictions; those that are not finite become errors.

        Raises:
            DataError: there is such a row, and errors are not collected.
        """
        return self.target.decode(_without_infinite(outputs, origin, errors, first_row))

    def answer_columns(self, outputs: np.ndarray, origin: str, errors: RowErrors) -> dict[str, list[Any]]:
        """Return the columns of `decode` as lists; answers that are not finite become errors."""
        return self.target.answer_columns(_without_infinite(outputs, origin, errors))

    def outputs(self, part: Split, place: Origin, *, batch_size: int | None = None) -> np.ndarray:
        """Return calibrated predictions for rows with the model's columns, [rows, ...] float32."""
        return self.target.calibrate(self.raw_outputs(part, place, batch_size=batch_size))

    def raw_outputs(self, part: Split, place: Origin, *, batch_size: int | None = None) -> np.ndarray:
        """Return the head's predictions before calibration; large tables are processed in blocks."""
        found: list[np.ndarray] = []
        start = 0
        for block in part.iter_blocks(self.preprocessor.columns, BLOCK_ROWS):
            found.append(self._outputs(block, place.from_row(start), batch_size))
            start += block.height
        return stack_ragged(found)

    def _outputs(self, frame: pl.DataFrame, place: Origin, batch_size: int | None) -> np.ndarray:
        size = batch_size or self.manifest.batch_size
        if isinstance(self.engine, TorchEngine):
            return self._torch_outputs(self.engine, frame, place, size)
        answer = self.head.answer
        assert answer is not None, "an engine other than torch was opened for a task that only torch answers"
        batches = self.preprocessor.iter_arrays(frame, place, size)
        return stack_ragged([answer(self.engine.run(inputs), target) for inputs, target in batches])

    def _torch_outputs(self, engine: TorchEngine, frame: pl.DataFrame, place: Origin, size: int) -> np.ndarray:
        from danlu.models.infer import predict_all

        if not isinstance(self.preprocessor, BlockPreprocessor):
            examples = self.preprocessor.transform(frame, place)
            return predict_all(engine.network, self.head, examples, size, engine.device)
        examples, owners = self.preprocessor.transform_each(frame)
        blocks = predict_all(engine.network, self.head, examples, size, engine.device)
        documents = np.zeros((frame.height, blocks.shape[1]), dtype=np.float64)
        np.add.at(documents, owners, blocks)
        return documents

    def unseen(self, source: RawData) -> list[str]:
        """Return a sentence for each column whose values mean less to the model than to whoever wrote them.

        No category of it occurred in training, or numbers are infinite.
        """
        if not isinstance(self.preprocessor, TabularPreprocessor):
            return []
        told: list[str] = []
        for state in self.preprocessor.category_states:
            if state.column not in source.frame.columns:
                continue
            column = source.frame.select([state.column])
            windows = (window.to_series().drop_nulls() for window in iter_windows(column))
            if all(state.knows_none(values) for values in windows if len(values)):  # most stop at the first
                asked = column.lazy().drop_nulls()
                first = asked.head(1).collect()
                if first.height:
                    count = collect_streaming(column, asked.select(pl.col(state.column).n_unique())).item()
                    told.append(
                        f"{source.origin}: column {state.column!r}: none of its {count:,} values, such as "
                        f"{first.item()!r}, occurred in training; is it written in another way?"
                    )
        names = [n for n, dtype in source.frame.schema.items() if dtype.is_float() and n in self.preprocessor.columns]
        if names:
            numbers = source.frame.select(names)
            counts = collect_streaming(numbers, numbers.lazy().select(pl.col(names).is_infinite().sum()))
            for name, count in counts.row(0, named=True).items():
                if count:
                    told.append(f"{source.origin}: column {name!r}: {count:,} infinite numbers are read as missing")
        return told

    def read(self) -> pl.DataFrame:
        """Return the rules of a tree or the curves of an additive model.

        Raises:
            ArgumentError: the model is not interpretable.
        """
        if not isinstance(self.options, Interpretable):
            known = [name for name, family in components("model").items() if issubclass(family, Interpretable)]
            message = f"{self.options.name} cannot be read as rules or curves; {' and '.join(known)} can"
            raise ArgumentError(message, code="DL409")
        assert isinstance(self.preprocessor, TabularPreprocessor)
        return self.options.read(self.model, self.preprocessor, self.target)

    def require_columns(self, source: RawData) -> None:
        """Raise DataError unless the source has all columns that the model reads."""
        for name in self.preprocessor.columns:
            if name not in source.frame.columns:
                near = suggestion(name, source.frame.columns)
                raise DataError(f"{source.origin}: no column {name!r}, which the model reads{near}", code="DL210")

    def replay(self, golden: pl.DataFrame) -> float:
        """Predict the golden samples again and return the largest deviation.

        Raises:
            ArtifactError: it exceeds what rounding explains.
        """
        self._check_decisions(golden, np.array(golden[ANSWER].to_list(), dtype=np.float64))
        own = self.engine.golden
        recorded = np.array(golden[own if own in golden.columns else ANSWER].to_list(), dtype=np.float64)
        with suppressed():  # of these samples the evaluation has said what there is to say
            rows = Split.of(golden_inputs(golden, self.preprocessor.columns))
            found = self.outputs(rows, Origin(GOLDEN, Path.cwd()))
        if found.ndim == 2:  # tagging: as many columns as the longest sentence of the split had words
            recorded, found = np.split(stack_ragged([recorded, found]), 2)
        deviation = float(np.max(np.abs(found - recorded) / np.maximum(1.0, np.abs(recorded))))
        engine = self.engine
        if not deviation <= engine.tolerance:
            raise ArtifactError(
                f"the model's predictions for its golden samples have changed since its evaluation: off by "
                f"{deviation:.2g} (allowed {engine.tolerance}, engine {engine.name}); compare library versions with "
                "those in bundle.json",
                code="DL311",
            )
        return deviation

    def _check_decisions(self, golden: pl.DataFrame, recorded: np.ndarray) -> None:
        """Raise ArtifactError unless the recorded answers still lead to the recorded decisions.

        Labels and threshold are tried on what was recorded, so that rounding elsewhere turns no close decision.
        """
        if PREDICTION not in golden.columns:  # made before format 2, or a task that decides nothing
            return
        decided, before = self.target.decode(recorded)[PREDICTION], golden[PREDICTION]
        if before.dtype.is_float():
            same = np.allclose(decided.to_numpy(), before.to_numpy(), rtol=GOLDEN_TOLERANCE)
        else:
            same = decided.to_list() == before.to_list()
        if not same:
            raise ArtifactError(
                "the model's decisions for its golden samples have changed since its evaluation; its labels or its "
                "threshold are not those of bundle.json as it was written; copy the bundle again",
                code="DL311",
            )

    def _frame(self, samples: Any) -> pl.DataFrame:
        """Convert any accepted form of samples to a frame."""
        try:
            return self.kind.samples_to_frame(samples, self.manifest.in_training_order(self.preprocessor.columns))
        except (
            TypeError,
            ValueError,
            AttributeError,
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ) as error:
            raise DataError(
                f"{SAMPLES}: cannot take a value of type {type(samples).__name__} ({error}); give a frame, a dict of "
                "columns, a list of dicts, or images or texts where the model takes them",
                code="DL207",
            ) from error


def _without_infinite(outputs: np.ndarray, origin: str, errors: RowErrors | None, first_row: int = 0) -> np.ndarray:
    """Return outputs with 0 in rows that are not finite, which become errors.

    Raises:
        DataError: there is such a row, and errors are not collected.
    """
    finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    if finite.all():
        return outputs
    for row in np.flatnonzero(~finite):
        error = DataError(
            f"{origin}: row {first_row + row + 1}: the model's answer is no finite number; its values are far from "
            "those of the training",
            code="DL211",
        )
        if errors is None:
            raise error
        errors.add(int(row), error)
    return np.where(finite.reshape(-1, *[1] * (outputs.ndim - 1)), outputs, np.zeros((), dtype=outputs.dtype))


def collect_row_errors(source: RawData, errors: RowErrors | None, first_row: int = 0) -> None:
    """Take over the errors of rows that were found while their columns were read.

    Raises:
        DataError: there is one, and it is not to be collected.
    """
    if ROW_ERROR not in source.frame.columns:
        return
    reasons = source.frame[ROW_ERROR]
    if reasons.null_count() == len(reasons):
        return
    for row, reason in enumerate(reasons.to_list()):
        if reason is None:
            continue
        code, _, message = reason.partition(": ")
        if errors is None:
            raise DataError(f"{source.origin}, row {first_row + row + 1}: {message}", code=code)
        errors.add(row, DataError(message, code=code))


def model_options(values: Any) -> Model:
    """Parse a bundle's config.json into the options of its model."""
    table = components("model")
    family = str(values.get("name", "")).split(":")[0]
    if family not in table:
        raise ArtifactError(
            f"the bundle's model {values.get('name')!r} is unknown here{suggestion(family, table)}", code="DL310"
        )
    return Model.of(table[family].model_validate(values))
