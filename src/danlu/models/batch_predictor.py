"""A function that predicts batches of rows wherever a cluster calls it: cheap to send, opened once per process.

In: batches as Ray Data or Spark hand them over. Out: batches of the same form, with the same columns each time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import digest_of
from danlu.core.console import suppressed
from danlu.data.row_errors import with_error_column
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.models.bundle_form import open_checked
from danlu.models.golden import golden_inputs

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

OPENED = 4  # bundles that a process keeps open
SPARK_TYPES: dict[Any, str] = {
    pl.String: "string",
    pl.Boolean: "boolean",
    pl.Int8: "tinyint",
    pl.Int16: "smallint",
    pl.Int32: "int",
    pl.Int64: "bigint",
    pl.UInt32: "bigint",
    pl.Float32: "float",
    pl.Float64: "double",
    pl.Date: "date",
    pl.Datetime: "timestamp",
}


@dataclass(frozen=True)
class BatchPredictor:
    """Predict batches of rows; what is pickled is a path and a digest.

    Attributes:
        folder: of the bundle, which every machine must reach.
        digest: of the bundle; another one in that folder is refused.
        keep: columns of a batch that stand before the answers.
        engine: that answers; None for the bundle's own order.
        own_code: whether code that the bundle names may run.
    """

    folder: str
    digest: str
    keep: tuple[str, ...] = ()
    engine: str | None = None
    own_code: bool = False

    def __call__(self, batch: Any) -> Any:
        """Predict a batch, or each one of an iterator as Spark's `mapInPandas` gives it.

        Args:
            batch: a pandas or polars frame, a pyarrow table, or a dict of arrays.

        Returns:
            the kept columns, the answers, and `error`, null where a row has an answer; in the form of the batch.

        Raises:
            ArtifactError: the bundle is not there, or not the one that was meant.
            DataError: a column is missing.
        """
        return map(self._predict, batch) if isinstance(batch, Iterator) else self._predict(batch)

    def spark_schema(self, frame: Any = None) -> str:
        """Return what `mapInPandas` wants to know of the answers.

        Args:
            frame: Spark's, whose types the kept columns have; needed where there are any.
        """
        if self.keep and frame is None:
            raise ArgumentError("spark_schema: hand over the frame, whose types the kept columns have", code="DL401")
        fields = frame.select(*self.keep).schema if self.keep else ()
        kept = [(field.name, field.dataType.simpleString()) for field in fields]
        told = [(name, _spark_type(dtype)) for name, dtype in self._no_answers().schema.items()]
        return ", ".join(f"`{name.replace('`', '``')}` {type_}" for name, type_ in (*kept, *told))

    def _predict(self, batch: Any) -> Any:
        answers = with_error_column(self._predictor().predict(batch)) if _height(batch) else self._no_answers()
        if twice := [name for name in self.keep if name in answers.columns]:
            raise ArgumentError(f"keep: {twice[0]!r} is also the name of a prediction column; rename it", code="DL402")
        return _beside(batch, self.keep, answers)

    def _predictor(self) -> "Predictor":
        return _opened(self.folder, self.digest, self.engine, self.own_code)

    def _no_answers(self) -> pl.DataFrame:
        """Return answers to no rows, with the columns that answers have."""
        predictor = self._predictor()
        columns = predictor.preprocessor.columns
        golden = predictor.bundle.golden()
        rows = pl.DataFrame({name: [None] for name in columns}) if golden is None else golden_inputs(golden, columns)
        return with_error_column(predictor.predict(rows.head(1))).clear()


@lru_cache(maxsize=OPENED)  # of the process: a cluster unpickles the function for each task, and must not open it anew
def _opened(folder: str, digest: str, engine: str | None, own_code: bool) -> "Predictor":
    from danlu.models.predictor import Predictor

    bundle = open_checked(folder)
    if digest_of(bundle.manifest) != digest:
        raise ArtifactError(
            f"{folder}: holds another bundle than the one that was meant; make the function again", code="DL305"
        )
    with suppressed():
        return Predictor.load(bundle, engine=engine, own_code=own_code)


def _height(batch: Any) -> int:
    if isinstance(batch, Mapping):
        return len(next(iter(batch.values()), ()))
    return int(batch.num_rows) if hasattr(batch, "num_rows") else len(batch)


def _beside(batch: Any, keep: tuple[str, ...], answers: pl.DataFrame) -> Any:
    """Return answers in the batch's form, behind its columns that are kept."""
    held = batch if isinstance(batch, Mapping) else getattr(batch, "column_names", getattr(batch, "columns", ()))
    if absent := [name for name in keep if name not in held]:
        raise DataError(f"the batch has no column {absent[0]!r}", code="DL210")
    if isinstance(batch, pl.DataFrame):
        return batch.select(keep).hstack(answers) if keep else answers
    if isinstance(batch, Mapping):
        return {name: np.asarray(batch[name]) for name in keep} | {each.name: each.to_numpy() for each in answers}
    if hasattr(batch, "num_rows"):
        found = answers.to_arrow(compat_level=pl.CompatLevel.oldest())
        for place, name in enumerate(keep):
            found = found.add_column(place, name, batch.column(name))
        return found
    found = answers.to_pandas()
    for place, name in enumerate(keep):
        found.insert(place, name, batch[name].to_numpy())
    return found


def _spark_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.List):
        return f"array<{_spark_type(dtype.inner)}>"  # type: ignore[arg-type]
    known = SPARK_TYPES.get(dtype.base_type())
    if known is None:
        raise ArgumentError(f"spark_schema: Spark has no type for answers of {dtype}", code="DL402")
    return known
