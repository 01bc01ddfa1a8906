"""The data sets that come with danlu or its dependencies and need no download: `builtin:NAME`.

breast-cancer, wine, diabetes and digits are scikit-learn's (BSD). The speeches are passages of the State of the
Union addresses since 1790 (contents under CC0), made by scripts/make_speeches.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from danlu.core.errors import DataError
from danlu.core.extras import require
from danlu.core.names import suggestion
from danlu.data.place import Source

FOLDER = Path(__file__).parent


def read_builtin(source: str) -> Source:
    """Read `builtin:NAME`.

    Raises:
        DataError: there is no such set.
    """
    name = source.removeprefix("builtin:")
    if name not in BUILTIN:
        raise DataError(f"{source}: no such built-in data{suggestion(name, BUILTIN)}")
    return BUILTIN[name](source)


def _table(load: str, target: str, named: bool) -> Callable[[str], Source]:
    """A reader for one of scikit-learn's tables; `named` where its target stands for class names."""

    def read(origin: str) -> Source:
        import sklearn.datasets

        bunch: Any = getattr(sklearn.datasets, load)()
        frame = pl.DataFrame(bunch.data, schema=[str(name) for name in bunch.feature_names], orient="row")
        values = [str(bunch.target_names[index]) for index in bunch.target] if named else bunch.target
        return Source(frame.with_columns(pl.Series(target, values)), origin, FOLDER, target=target)

    return read


def _digits(origin: str) -> Source:
    """1,797 handwritten digits of 8x8 pixels as PNG images."""
    require("image", "builtin:digits")
    from io import BytesIO

    import sklearn.datasets
    from PIL import Image

    bunch: Any = sklearn.datasets.load_digits()
    images: list[bytes] = []
    for pixels in (bunch.images * (255 / 16)).round().astype("uint8"):
        encoded = BytesIO()
        Image.fromarray(pixels).save(encoded, format="PNG")
        images.append(encoded.getvalue())
    frame = pl.DataFrame({"image": images, "digit": bunch.target})
    return Source(frame, origin, FOLDER, "images", "digit")


def _speeches(origin: str) -> Source:
    """3,021 passages of 233 speeches, with the era each was given in."""
    frame = pl.read_parquet(FOLDER / "speeches.parquet").drop("year")
    return Source(frame, origin, FOLDER, target="era")


def _corpus(origin: str) -> Source:
    """The same speeches, each one document."""
    passages = pl.read_parquet(FOLDER / "speeches.parquet")
    documents = passages.group_by("speech", maintain_order=True).agg(pl.col("text").str.join(" "))
    return Source(documents.rename({"speech": "document"}), origin, FOLDER, "corpus")


BUILTIN: dict[str, Callable[[str], Source]] = {
    "breast-cancer": _table("load_breast_cancer", "diagnosis", named=True),
    "wine": _table("load_wine", "cultivar", named=True),
    "diabetes": _table("load_diabetes", "progression", named=False),
    "digits": _digits,
    "speeches": _speeches,
    "speeches-corpus": _corpus,
}
