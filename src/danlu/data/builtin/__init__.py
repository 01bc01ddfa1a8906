"""The data sets that come with danlu or its dependencies and need no download: `builtin:NAME`.

breast-cancer, wine, diabetes (in its own units) and digits are the files inside scikit-learn (BSD), read without
importing it, which takes longer than all else that checks a recipe. The speeches are passages of the State of the Union
addresses since 1790 (contents under CC0), made by scripts/make_speeches.py.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import polars as pl

from danlu.core.imports import require_extra
from danlu.core.text import suggestion
from danlu.data.descriptors import RawData
from danlu.errors import DataError

FOLDER = Path(__file__).parent
NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
WINE = (
    "alcohol",
    "malic_acid",
    "ash",
    "alcalinity_of_ash",
    "magnesium",
    "total_phenols",
    "flavanoids",
    "nonflavanoid_phenols",
    "proanthocyanins",
    "color_intensity",
    "hue",
    "od280/od315_of_diluted_wines",
    "proline",
)
DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def read_builtin(source: str) -> RawData:
    """Read `builtin:NAME`.

    Raises:
        DataError: there is no such data set.
    """
    name = source.removeprefix("builtin:")
    if name not in BUILTIN:
        raise DataError(f"{source}: no such built-in data{suggestion(name, BUILTIN)}", code="DL201")
    return BUILTIN[name](source)


def _file(name: str, separator: str = ",", skipped: int = 0) -> pl.DataFrame:
    """Read a data file inside scikit-learn, without names for its columns."""
    found = importlib.util.find_spec("sklearn")
    path = Path(found.origin).parent / "datasets" / "data" / name if found and found.origin else None
    if path is None or not path.is_file():
        raise DataError(f"builtin data: scikit-learn's file {name} is missing; reinstall scikit-learn", code="DL201")
    return pl.read_csv(path, has_header=False, separator=separator, skip_rows=skipped, infer_schema_length=None)


def _named(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _breast_cancer(origin: str) -> RawData:
    """Read 569 tumours: mean, standard error and worst of ten nuclei measurements."""
    measured = [pattern.format(name) for pattern in ("mean {}", "{} error", "worst {}") for name in NUCLEUS]
    frame = _named(_file("breast_cancer.csv", skipped=1), (*measured, "diagnosis"))
    words = pl.col("diagnosis").replace_strict({0: "malignant", 1: "benign"}, return_dtype=pl.String)
    return RawData(frame.with_columns(words), origin, FOLDER, target="diagnosis")


def _wine(origin: str) -> RawData:
    """Read 178 wines of three cultivars: 13 chemical measurements."""
    frame = _named(_file("wine_data.csv", skipped=1), (*WINE, "cultivar"))
    return RawData(
        frame.with_columns(pl.format("class_{}", "cultivar").alias("cultivar")), origin, FOLDER, target="cultivar"
    )


def _diabetes(origin: str) -> RawData:
    """Read 442 patients: ten measurements, and the disease's progression after a year."""
    frame = _named(_file("diabetes_data_raw.csv.gz", separator=" "), DIABETES)
    progression = _file("diabetes_target.csv.gz").to_series().alias("progression")
    return RawData(frame.with_columns(progression), origin, FOLDER, target="progression")


def _digits(origin: str) -> RawData:
    """Read 1,797 handwritten digits of 8x8 pixels as PNG images."""
    require_extra("image", "builtin:digits")
    from io import BytesIO

    from PIL import Image

    values = _file("digits.csv.gz").to_numpy()
    images: list[bytes] = []
    for pixels in (values[:, :64] * (255 / 16)).round().astype("uint8"):
        encoded = BytesIO()
        Image.fromarray(pixels.reshape(8, 8)).save(encoded, format="PNG")
        images.append(encoded.getvalue())
    frame = pl.DataFrame({"image": images, "digit": values[:, 64].astype("int64")})
    return RawData(frame, origin, FOLDER, "images", "digit")


def _speeches(origin: str) -> RawData:
    """Read 3,021 passages of 233 speeches, with the era of each."""
    frame = pl.read_parquet(FOLDER / "speeches.parquet").drop("year")
    return RawData(frame, origin, FOLDER, target="era")


def _corpus(origin: str) -> RawData:
    """Read the same speeches, one document each."""
    passages = pl.read_parquet(FOLDER / "speeches.parquet")
    documents = passages.group_by("speech", maintain_order=True).agg(pl.col("text").str.join(" "))
    return RawData(documents.rename({"speech": "document"}), origin, FOLDER, "corpus")


BUILTIN: dict[str, Callable[[str], RawData]] = {
    "breast-cancer": _breast_cancer,
    "wine": _wine,
    "diabetes": _diabetes,
    "digits": _digits,
    "speeches": _speeches,
    "speeches-corpus": _corpus,
}
