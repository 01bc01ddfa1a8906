"""`danlu.batch`: a bundle as a function of batches, for whoever outgrows a machine."""

from collections.abc import Sequence

from danlu.artifacts.bundle import digest_of
from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.models.batch_predictor import BatchPredictor
from danlu.models.bundle_form import open_checked


@checked
def batch(
    bundle: StrPath, *, keep: Sequence[str] = (), engine: str | None = None, own_code: bool = False
) -> BatchPredictor:
    """Make a function that predicts batches of rows, for Ray Data and Spark.

    Ray's `map_batches` and Spark's `mapInPandas` take it as it is.

    It is cheap to send, since it holds the bundle's path and digest alone; each process opens the bundle once. Every
    batch has the same columns: those that are kept, the answers, and `error`, null where a row has an answer. Each
    batch is read by itself, so hand over numbers and dates as such, not as words: which of two ways of writing them a
    file has, `danlu predict` finds in all of it.

    Args:
        bundle: a bundle or a run, in a folder that all machines reach.
        keep: input columns to put before the answers, such as an identifier; without one only the order tells whose
            answer is which.
        engine: what computes the network; by default the bundle's own order decides.
        own_code: import the module that the bundle names, if its model is your own.

    Returns:
        a function: a pandas or polars frame, a pyarrow table or a dict of arrays in, the same out; an iterator of
        frames in, an iterator out. Its `spark_schema(frame)` is what `mapInPandas` asks for.

    Raises:
        ArtifactError: there is no such bundle, or it is damaged.

    Example:
        >>> import danlu
        >>> predict = danlu.batch("runs/wine")
        >>> rows = {name: [1.0, 2.0] for name in danlu.load("runs/wine").preprocessor.columns}
        >>> answers = predict(rows)
        >>> len(answers["prediction"]), list(answers)[-1]
        (2, 'error')
    """
    opened = open_checked(bundle)
    return BatchPredictor(str(opened.folder.resolve()), digest_of(opened.manifest), tuple(keep), engine, own_code)
