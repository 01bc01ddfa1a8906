"""A large CSV (or parquet) to cleaned, standardised float32 tensors: danlu beside pandas with scikit-learn.

Both read the file, drop repeated rows, split 70/15/15 by class, learn medians, IQR limits, means and deviations and
category codes from the training rows, and make tensors of all three parts. Each way runs in a process of its own.

    python benchmarks/tables.py [ROWS]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 2_000_000
NUMBERS, CATEGORIES = 16, 3


def make_files(folder: Path, rows: int) -> None:
    """Numbers with gaps, categories and a class; one row in a hundred is repeated."""
    generator = np.random.default_rng(0)
    columns: dict[str, pl.Series] = {}
    for index in range(NUMBERS):
        centre, spread = generator.uniform(-50, 50), generator.uniform(1, 20)
        values = pl.Series(generator.normal(centre, spread, rows).round(4))
        columns[f"x{index}"] = values.set(pl.Series(generator.random(rows) < 0.02), None)
    words = np.array(["red", "green", "blue", "yellow", "black", "white"])
    for index in range(CATEGORIES):
        columns[f"c{index}"] = pl.Series(words[generator.integers(0, len(words), rows)])
    columns["y"] = pl.Series(generator.integers(0, 2, rows))
    frame = pl.DataFrame(columns)
    repeated = rows // 100
    frame = pl.concat([frame.head(rows - repeated), frame.head(repeated)]).sample(fraction=1.0, shuffle=True, seed=1)
    frame.write_csv(folder / "table.csv")
    frame.write_parquet(folder / "table.parquet")


def with_danlu(path: str) -> int:
    """danlu's stages, as `danlu train` calls them, without the audit, which the peer has no counterpart of."""
    from danlu.core.seeds import Seed
    from danlu.data.clean import clean_rows
    from danlu.data.descriptors import DataRequirements, Origin
    from danlu.data.interpret import open_dataset
    from danlu.data.preprocessing import fit_preprocessor, prepare_split
    from danlu.data.splits import split_dataset
    from danlu.experiment.defaults import resolve_recipe
    from danlu.recipe.load import check_recipe

    recipe = check_recipe(
        {"data": {"source": path, "target": "y", "clean": {"duplicates": "drop", "outliers": {"method": "iqr"}}}}
    )
    dataset = open_dataset(recipe.data)
    section = resolve_recipe(recipe, dataset).data
    cleaned = clean_rows(dataset, section.clean, section.split)
    splits = split_dataset(dataset, section.split, Seed(0), cleaned.kept)
    preprocessor = fit_preprocessor(splits.train, dataset, section, DataRequirements(), Seed(0))
    place = Origin(dataset.origin, dataset.folder)
    return sum(len(prepare_split(preprocessor, part, place)) for _, part in splits.items())


def with_pandas(path: str, engine: str = "c") -> int:
    """The same by pandas and scikit-learn; floats are not narrowed before repeated rows are told apart."""
    import pandas as pd
    import torch
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    frame = pd.read_parquet(path) if path.endswith("parquet") else pd.read_csv(path, engine=engine)
    frame = frame.drop_duplicates(ignore_index=True)
    train, rest = train_test_split(frame, test_size=0.3, stratify=frame["y"], random_state=0)
    validation, test = train_test_split(rest, test_size=0.5, stratify=rest["y"], random_state=0)
    del frame, rest
    names = [f"x{index}" for index in range(NUMBERS)]
    quartiles = train[names].quantile([0.25, 0.75])
    reach = 3.0 * (quartiles.loc[0.75] - quartiles.loc[0.25])
    limits = quartiles.loc[0.25] - reach, quartiles.loc[0.75] + reach
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    preparation = ColumnTransformer(
        [("numbers", numbers, names), ("categories", categories, [f"c{i}" for i in range(CATEGORIES)])]
    )
    count = 0
    for part in (train, validation, test):
        part[names] = part[names].clip(*limits, axis=1)
        values = preparation.fit_transform(part) if part is train else preparation.transform(part)
        tensors = (
            torch.from_numpy(values[:, :NUMBERS].astype(np.float32)),
            torch.from_numpy(values[:, NUMBERS:].astype(np.int64)),
        )
        count += len(tensors[0])
    return count


WAYS = {
    "danlu, csv": (with_danlu, "table.csv", {}),
    "pandas, csv": (with_pandas, "table.csv", {}),
    "pandas, csv, pyarrow engine": (with_pandas, "table.csv", {"engine": "pyarrow"}),
    "danlu, parquet": (with_danlu, "table.parquet", {}),
    "pandas, parquet": (with_pandas, "table.parquet", {}),
}
NEED_PYARROW = ("pandas, csv, pyarrow engine", "pandas, parquet")


def measure(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own: wall seconds and CPU seconds of the work, peak memory of the process."""
    command = [sys.executable, __file__, "--way", way, str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def run_way(way: str, folder: Path) -> None:
    import torch  # noqa: F401 - both ways need it; its import is not part of the work

    function, file, options = WAYS[way]
    wall, cpu = time.perf_counter(), time.process_time()
    rows = function(str(folder / file), **options)
    figures = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "rows": rows}
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


def compare_tables(rows: int = ROWS) -> None:
    """Print each way's time and memory, and the ratio to pandas from CSV."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, rows)
        ways = [way for way in WAYS if way not in NEED_PYARROW or find_spec("pyarrow")]
        found = {way: measure(way, folder) for way in ways}
        again = {way: measure(way, folder) for way in ways}
    print(
        f"{rows:,} rows x {NUMBERS + CATEGORIES + 1} columns; "
        f"pandas {version('pandas')}, scikit-learn {version('scikit-learn')}"
    )
    print(f"{'way':30} {'wall s':>7} {'CPU s':>7} {'peak MB':>8} {'x faster':>9} {'x memory':>9}")
    best = {way: min((found[way], again[way]), key=lambda figures: figures["wall_s"]) for way in ways}
    peer = best["pandas, csv"]
    for way, figures in best.items():
        faster, memory = peer["wall_s"] / figures["wall_s"], figures["peak_mb"] / peer["peak_mb"]
        times = f"{figures['wall_s']:7.2f} {figures['cpu_s']:7.2f} {figures['peak_mb']:8.0f}"
        print(f"{way:30} {times} {faster:9.2f} {memory:9.2f}")
    if "pandas, parquet" not in ways:
        print("pyarrow is not installed, so pandas' own parquet and pyarrow rows are left out")


if __name__ == "__main__":
    if "--way" in sys.argv:
        run_way(sys.argv[2], Path(sys.argv[3]))
    else:
        compare_tables(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
