"""Files too large for memory: answered block by block as a small file is, in memory that does not grow with them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.api.predict import Asked, predicted
from danlu.artifacts.cache import cache_root
from danlu.data.frames import DiskFrame
from danlu.errors import DataError
from danlu.models import answered_rows

ROWS_OF_A_BLOCK = 64  # two batches, so that answers are equal to the last bit


@pytest.fixture
def by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is too large for memory."""
    monkeypatch.setattr(answered_rows, "STREAMED_BYTES", 0)
    monkeypatch.setattr(answered_rows, "BLOCK_ROWS", ROWS_OF_A_BLOCK)


def written(frame: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    elif path.suffix == ".arrow":
        frame.write_ipc(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.fixture(scope="module")
def odd(table_file: Path) -> pl.DataFrame:
    """Rows as another program writes them: decimal commas, other dates, words where numbers belong."""
    frame = pl.read_csv(table_file, try_parse_dates=True).drop("cultivar")
    place = pl.int_range(pl.len())
    return frame.with_columns(
        pl.col("hue").cast(pl.String).str.replace(".", ",", literal=True),
        pl.when(place.is_in([3, 60, 170]))
        .then(pl.lit("much"))
        .otherwise(pl.col("proline").cast(pl.String))
        .alias("proline"),
        pl.col("bottled").dt.strftime("%Y/%m/%d"),
        pl.when(place == 120).then(1e300).otherwise("alcohol").alias("alcohol"),
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize("broken", ["row", "skip"])
def test_blocks_are_answered_as_the_whole_is(
    table_run: Path,
    odd: pl.DataFrame,
    suffix: str,
    broken: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    path = written(odd, tmp_path / f"rows{suffix}")
    output = tmp_path / f"answers{suffix if suffix != '.arrow' else '.parquet'}"
    expected = danlu.predict(table_run, path, output=output, keep=["id"], broken=broken)
    whole = output.read_bytes()
    request.getfixturevalue("by_blocks")
    asked = Asked(keep=["id"], broken=broken)
    with predicted(table_run, path, asked, output) as found:
        assert isinstance(found.table, DiskFrame)
        assert found.table.lazy().collect().equals(expected)
        assert found.errors.count == 4
        assert found.errors.first == (3, "DL211: column 'proline': much is not a number")
    assert expected.height == odd.height - (4 if broken == "skip" else 0)
    assert pl.read_parquet(output).equals(expected) if output.suffix == ".parquet" else output.read_bytes() == whole
    assert not [*(cache_root() / "scratch").glob("*")]


def test_a_file_without_errors_has_no_column_for_them(table_run: Path, table_file: Path, by_blocks: None) -> None:
    assert "error" not in danlu.predict(table_run, table_file).columns


def test_the_first_row_in_error_is_refused_by_its_place_in_the_file(
    table_run: Path, odd: pl.DataFrame, tmp_path: Path, by_blocks: None
) -> None:
    late = odd.with_columns(
        pl.when(pl.int_range(pl.len()) == 60).then("proline").otherwise(pl.lit("500")).alias("proline")
    )
    output = tmp_path / "answers.csv"
    with pytest.raises(DataError, match="row 61: column 'proline': much"):
        danlu.predict(table_run, written(late, tmp_path / "rows.csv"), broken="fail", output=output)
    with pytest.raises(DataError, match=r"row 121: column 'alcohol'.* is beyond"):
        danlu.predict(table_run, written(late.drop("proline").with_columns(proline=500), tmp_path / "rows.csv"),
                      broken="fail", output=output)  # fmt: skip
    assert not output.exists()


def test_categories_that_no_block_knows_are_told(
    table_run: Path, odd: pl.DataFrame, tmp_path: Path, by_blocks: None, caplog: pytest.LogCaptureFixture
) -> None:
    danlu.predict(table_run, written(odd.with_columns(shelf=pl.lit("blue")), tmp_path / "rows.csv"))
    assert "column 'shelf': none of its 1 values, such as 'blue', occurred in training" in caplog.text
    caplog.clear()
    known = odd.with_columns(
        pl.when(pl.int_range(pl.len()) == 177).then("shelf").otherwise(pl.lit("blue")).alias("shelf")
    )
    danlu.predict(table_run, written(known, tmp_path / "rows.csv"))
    assert "occurred in training" not in caplog.text


PROGRAM = """
import sys, threading, time
from pathlib import Path
from danlu.api.predict import Asked, predicted

def anonymous():
    lines = [line.split() for line in open("/proc/self/smaps_rollup").read().splitlines()[1:]]
    sizes = {line[0]: int(line[1]) * 1024 for line in lines}
    return sizes["Anonymous:"] - sizes["LazyFree:"]

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.05)

peak = [0]
threading.Thread(target=watch, daemon=True).start()
with predicted(sys.argv[1], sys.argv[2], Asked(), Path(sys.argv[3])) as found:
    print(found.table.height, peak[0])
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux for the memory of a process")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(table_run: Path, odd: pl.DataFrame, tmp_path: Path) -> None:
    peaks, sizes = {}, {}
    for times in (2000, 6000):
        path = tmp_path / f"{times}.csv"
        with path.open("wb") as file:
            for number in range(times // 100):
                pl.concat([odd] * 100).write_csv(file, include_header=number == 0)
        command = [sys.executable, "-c", PROGRAM, str(table_run), str(path), str(tmp_path / "answers.csv")]
        # Allocators give memory back at once: what threads keep for later depends on who happened to run when.
        kept = {"MALLOC_ARENA_MAX": "1", "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0"}
        environment = {**os.environ, **kept, "DANLU_CACHE": str(tmp_path / "cache"), "POLARS_MAX_THREADS": "4"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        rows, peaks[times] = json.loads(f"[{done.stdout.split()[-2]}, {done.stdout.split()[-1]}]")
        assert rows == times * odd.height
        sizes[times] = path.stat().st_size
    assert peaks[6000] - peaks[2000] < (sizes[6000] - sizes[2000]) / 2  # in memory it is some five times the file
