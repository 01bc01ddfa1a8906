"""Every format of the table in docs/formats.md: files that their own programs wrote, read with the right values."""

import bz2
import datetime
import gzip
import json
import lzma
import re
import sqlite3
import struct
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.data.file_form import ReadOptions
from danlu.data.sources.compressed import OPENERS
from danlu.data.sources.other_formats import INSTEAD
from danlu.data.sources.reader import read_source
from danlu.data.sources.tables import READERS
from danlu.errors import DataError, MissingExtra
from danlu.recipe.sections.data import SplitSources

DAYS = [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2), None]


def rows(source: Path | str, options: ReadOptions | None = None) -> dict[str, list[Any]]:
    return read_source(str(source), options).frame.lazy().collect().to_dict(as_series=False)


# Workbooks


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, lines in sheets.items():
        sheet = book.create_sheet(title)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def test_a_workbook_of_openpyxl(tmp_path: Path) -> None:
    lines = [["n", "word", "day", "truth"], [1, "a", DAYS[0], True], [2, "é", DAYS[1], False], [None, None, None, None]]
    path = workbook(tmp_path / "a.xlsx", {"First": [*lines, [4, "z", None, None]], "Other": [["q"], [7.5]]})
    assert rows(path) == {
        "n": [1, 2, None, 4],
        "word": ["a", "é", None, "z"],
        "day": [*DAYS[:2], None, None],
        "truth": [True, False, None, None],
    }
    assert rows(f"{path}::Other") == {"q": [7.5]}
    with pytest.raises(
        DataError, match=r"a\.xlsx: has no sheet 'Othr'; the nearest is \"Other\" \(allowed: First, Other"
    ):
        read_source(f"{path}::Othr")


def test_words_that_come_late_in_a_sheet_are_kept(tmp_path: Path) -> None:
    lines = [["x", "y"], *([i, i] for i in range(1500)), ["late", 1500]]
    found = rows(workbook(tmp_path / "a.xlsx", {"S": lines}))
    assert (len(found["x"]), found["x"][0], found["x"][-1]) == (1501, "0", "late")
    assert found["y"][-1] == 1500


def test_cells_that_show_an_error_are_missing(tmp_path: Path) -> None:
    found = rows(workbook(tmp_path / "a.xlsx", {"S": [["x", "w"], [1, "a"], ["#N/A", "#DIV/0!"], [3, "c"]]}))
    assert found["w"] == ["a", None, "c"]


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"a\.xlsx: cannot be read as a workbook"):
        read_source(str(tmp_path / "a.xlsx"))


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.core import imports

    monkeypatch.setattr(imports, "missing_packages", lambda extra: ("fastexcel",))
    with pytest.raises(MissingExtra, match=r"a\.xlsx: a workbook needs fastexcel, .*pip install 'danlu\[formats\]'"):
        read_source(str(workbook(tmp_path / "a.xlsx", {"S": [["x"], [1]]})))


# JSON


@pytest.mark.parametrize("orient", ["records", "columns", "list", "split", "table"])
def test_json_of_pandas(orient: str, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2, 3], "w": ["a", None, "c"], "f": [0.5, 1.0, None]})
    path = tmp_path / "a.json"
    if orient == "list":
        path.write_text(
            json.dumps(
                json.loads(frame.to_json(orient="columns"))
                and frame.astype(object).where(frame.notna(), None).to_dict(orient="list")
            )
        )
    else:
        frame.to_json(path, orient=orient, **({"index": False} if orient == "table" else {}))
    assert rows(path) == {"x": [1, 2, 3], "w": ["a", None, "c"], "f": [0.5, 1.0, None]}


def test_json_records_with_keys_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"x": 1}, {"x": 2.5, "y": "b"}, {"y": "c", "z": true}]')
    assert rows(tmp_path / "a.json") == {"x": [1.0, 2.5, None], "y": [None, "b", "c"], "z": [None, None, True]}


def test_json_that_holds_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match=r"holds no table; a table in JSON is a list of objects"):
        read_source(str(path))
    path.write_text('{"x": 1}\n{"x": 2}\n')
    with pytest.raises(DataError, match=r"holds one object a line; rename it to a\.jsonl"):
        read_source(str(path))


def test_lines_of_json(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"x": [1, 2], "w": ["a", "é"]}).to_json(tmp_path / "a.ndjson", orient="records", lines=True)
    assert rows(tmp_path / "a.ndjson") == {"x": [1, 2], "w": ["a", "é"]}


# Separated values, packed files

TEXT = b"x,w\n1,a\n2,b\n"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".zip"])
@pytest.mark.parametrize("inner", [".csv", ".tsv", ".jsonl"])
def test_packed_files_of_pandas(suffix: str, inner: str, tmp_path: Path) -> None:
    import pandas as pd

    frame, path = pd.DataFrame({"x": [1, 2], "w": ["a", "b"]}), tmp_path / f"a{inner}{suffix}"
    if inner == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if inner == ".tsv" else ",")
    assert rows(path) == {"x": [1, 2], "w": ["a", "b"]}
    assert read_source(str(path)).origin == str(path)
    assert read_source(str(path)).folder == tmp_path


def test_tabs_and_bars(tmp_path: Path) -> None:
    (tmp_path / "a.tab").write_text("x\tw\n1\ta,b\n")
    (tmp_path / "a.psv").write_text("x|w\n1|a,b\n")
    assert rows(tmp_path / "a.tab") == rows(tmp_path / "a.psv") == {"x": [1], "w": ["a,b"]}


def test_an_archive_of_several_files_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", TEXT)
        archive.writestr("more/test.csv", b"x,w\n9,z\n")
        archive.writestr("__MACOSX/._train.csv", b"\0")
    with pytest.raises(DataError, match=r"several files \(train\.csv, more/test\.csv\); name one, as a\.zip::train"):
        read_source(str(path))
    assert rows(f"{path}::more/test.csv") == {"x": [9], "w": ["z"]}
    with pytest.raises(DataError, match=r"no file 'trian\.csv'; the nearest is .train\.csv"):
        read_source(f"{path}::trian.csv")


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [(".gz", gzip.compress(TEXT, mtime=0)[:-6]), (".bz2", bz2.compress(TEXT)[:-6]), (".xz", lzma.compress(TEXT)[:-6])]
    + [(suffix, b"not packed") for suffix in (".gz", ".bz2", ".xz", ".zst", ".zip")],
)
def test_a_damaged_packed_file_is_refused(suffix: str, packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"a\.csv\.\w+: cannot be (unpacked|read)"):
        read_source(str(path))


def test_errors_inside_of_packed_files_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(b"x,x\n1,2\n"))
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.csv\.bz2: the header names 'x' more than once"):
        read_source(str(tmp_path / "a.csv.bz2"))


def test_an_archive_of_folders_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"unpack it \(`tar -xf a\.tar\.gz`\)"):
        read_source(str(tmp_path / "a.tar.gz"))


# Arrow and Hugging Face


def dataset(**columns: Any) -> Any:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"x": datasets.Value("int64"), "y": datasets.ClassLabel(names=["cat", "dog"])}
        | {name: datasets.List(datasets.ClassLabel(names=["cat", "dog"])) for name in columns}
    )
    return datasets.Dataset.from_dict({"x": [10, 11, 12, 13], "y": [0, 1, -1, 1], **columns}, features=features)


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    shuffled = dataset(both=[[0], [1, 0], [], [1]]).shuffle(seed=3)
    shuffled.save_to_disk(tmp_path / "saved", num_shards=2)
    order = [value - 10 for value in shuffled["x"]]
    labels, both = ["cat", "dog", None, "dog"], [["cat"], ["dog", "cat"], [], ["dog"]]
    assert rows(tmp_path / "saved") == {
        "x": [10 + at for at in order],
        "y": [labels[at] for at in order],
        "both": [both[at] for at in order],
    }


def test_a_stream_of_hugging_faces_cache(tmp_path: Path) -> None:
    dataset().save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.rename(tmp_path / "part.arrow")
    assert rows(tmp_path / "part.arrow") == {"x": [10, 11, 12, 13], "y": ["cat", "dog", None, "dog"]}


def test_parquet_of_hugging_face_names_its_classes(tmp_path: Path) -> None:
    dataset().to_parquet(tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet")["y"] == ["cat", "dog", None, "dog"]


def test_splits_of_a_dataset_dict(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {"train": dataset(), "test": dataset().select([0, 1])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    read = read_source(str(tmp_path / "saved"))
    assert read.split_column == "split"
    assert read.frame["split"].to_list() == ["train"] * 4 + ["test"] * 2
    assert read.frame["x"].to_list() == [10, 11, 12, 13, 10, 11]


def test_embedded_images_are_their_bytes(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "y": datasets.Value("string")})
    pixels = [Image.fromarray(np.full((4, 5, 3), value, dtype=np.uint8)) for value in (0, 200)]
    saved = datasets.Dataset.from_dict({"image": pixels, "y": ["a", "b"]}, features=features)
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(tmp_path / "a.parquet")
    for source in ("saved", "a.parquet"):
        image = rows(tmp_path / source)["image"][1]
        assert Image.open(BytesIO(image)).getpixel((0, 0)) == (200, 200, 200)


def test_arrow_of_pyarrow(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import feather

    table = pa.table({"x": [1, None, 3], "w": pa.array(["a", "b", "a"]).dictionary_encode(), "day": DAYS})
    for compression in ("uncompressed", "lz4", "zstd"):
        feather.write_feather(table, str(tmp_path / "a.feather"), compression=compression)
        found = rows(tmp_path / "a.feather")
        assert (found["x"], found["day"]) == ([1, None, 3], DAYS)
    with pa.OSFile(str(tmp_path / "s.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert [str(value) for value in rows(tmp_path / "s.arrow")["w"]] == ["a", "b", "a"]


# Parquet


def test_uuids_are_words(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "a.parquet"
    duckdb.sql(
        "copy (select 1 as x, '123e4567-e89b-12d3-a456-426614174000'::uuid as u union all select 2, null) "
        f"to '{path}' (format parquet)"
    )
    assert rows(path) == {"x": [1, 2], "u": ["123e4567-e89b-12d3-a456-426614174000", None]}


@pytest.mark.parametrize("writer", ["duckdb", "arrow file", "arrow stream"])
def test_a_column_of_intervals_is_named(writer: str, tmp_path: Path) -> None:
    import duckdb
    import pyarrow as pa

    path = tmp_path / ("a.parquet" if writer == "duckdb" else "a.arrow")
    if writer == "duckdb":
        duckdb.sql(f"copy (select 1 as x, interval 3 day as gap) to '{path}' (format parquet)")
    else:
        table = pa.table({"x": [1], "gap": pa.array([(1, 2, 3)], type=pa.month_day_nano_interval())})
        new = pa.ipc.new_file if writer == "arrow file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as opened:
            opened.write_table(table)
    with pytest.raises(DataError, match=r"column 'gap' holds intervals") as refused:
        read_source(str(path))
    assert refused.value.code == "DL211"


def test_a_nested_interval_is_named(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "a.parquet"
    duckdb.sql(f"copy (select 1 as x, {{'a': interval 3 day}} as held) to '{path}' (format parquet)")
    with pytest.raises(DataError, match=r"column 'held\.a' holds intervals"):
        read_source(str(path))


def test_other_panics_are_errors_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_: object) -> None:
        raise pl.exceptions.PanicException("called `unwrap` on nothing")

    (tmp_path / "a.arrow").write_bytes(b"x")
    monkeypatch.setitem(READERS, ".arrow", panics)
    with pytest.raises(DataError, match=r"a\.arrow: holds a column of a type that polars cannot take: called"):
        read_source(str(tmp_path / "a.arrow"))


# Workbooks of other programs

KEPT = Path(__file__).parents[2] / "files" / "formats"  # written by programs that are not installed for tests
SHEET = {"x": [1.5, 2.0], "w": ["a", "é"], "d": [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)]}


def record(kind: int, content: bytes) -> bytes:
    """Return a record of a binary workbook: [MS-XLSB] 2.1.4."""
    head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    return head + bytes([len(content)]) + content


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def binary_workbook(path: Path, rows: list[list[str | float]]) -> None:
    """Write a sheet as Excel's binary workbooks have it, as far as a reader needs it."""
    cells = b""
    for number, row in enumerate(rows):
        cells += record(0, struct.pack("<IIHHBI", number, 0, 300, 0, 0, 0))
        for at, value in enumerate(row):
            place = struct.pack("<II", at, 0)
            cells += (
                record(6, place + wide(value))
                if isinstance(value, str)
                else record(5, place + struct.pack("<d", value))
            )
    size = record(148, struct.pack("<IIII", 0, len(rows) - 1, 0, len(rows[0]) - 1))
    sheet = record(129, b"") + size + record(145, b"") + cells + record(146, b"") + record(130, b"")
    listed = record(156, struct.pack("<II", 0, 1) + wide("rId1") + wide("data"))
    book = record(131, b"") + record(143, b"") + listed + record(144, b"") + record(132, b"")
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.bin", book)
        archive.writestr("xl/worksheets/sheet1.bin", sheet)
        archive.writestr(
            "xl/_rels/workbook.bin.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{kind}" Target="worksheets/sheet1.bin"/></Relationships>',
        )


@pytest.mark.parametrize("name", ["xlwt.xls.xz", "odfpy.ods.xz"])
def test_workbooks_of_excel_97_and_libreoffice(name: str) -> None:
    assert rows(KEPT / name) == SHEET


def test_a_binary_workbook(tmp_path: Path) -> None:
    binary_workbook(tmp_path / "a.xlsb", [["x", "w"], [1.5, "a"], [2.0, "é"]])
    assert rows(tmp_path / "a.xlsb") == {"x": [1.5, 2.0], "w": ["a", "é"]}
    assert rows(f"{tmp_path}/a.xlsb::data") == {"x": [1.5, 2.0], "w": ["a", "é"]}


# Statistics programs

LABELLED = {"sex": {1: "male", 2: "female"}, "score": {99: "refused"}}


@pytest.mark.parametrize("suffix", [".dta", ".sav", ".zsav"])
def test_files_of_stata_and_spss(suffix: str, tmp_path: Path) -> None:
    import pandas as pd
    import pyreadstat

    frame = pd.DataFrame(
        {
            "x": [1.5, None, 2.0],
            "n": [1.0, 2.0, None],
            "sex": [1.0, 2.0, None],
            "score": [3, 99, 4],
            "word": ["a", "", "é"],
            "day": pd.Series(DAYS, dtype=object),
        }
    )
    path = tmp_path / f"a{suffix}"
    write = pyreadstat.write_dta if suffix == ".dta" else pyreadstat.write_sav
    write(frame, str(path), variable_value_labels=LABELLED, **({"compress": True} if suffix == ".zsav" else {}))
    assert rows(path) == {
        "x": [1.5, None, 2.0],
        "n": [1, 2, None],
        "sex": ["male", "female", None],
        "score": [3, 99, 4],
        "word": ["a", None, "é"],
        "day": DAYS,
    }


def test_a_file_of_sas(tmp_path: Path) -> None:
    import pandas as pd
    import pyreadstat

    pyreadstat.write_xport(pd.DataFrame({"x": [1.5, None], "w": ["a", "b"]}), str(tmp_path / "a.xpt"))
    assert rows(tmp_path / "a.xpt") == {"x": [1.5, None], "w": ["a", "b"]}


def test_a_portable_file_of_spss(tmp_path: Path) -> None:
    import pandas as pd
    import pyreadstat

    pyreadstat.write_por(pd.DataFrame({"x": [1.5, None], "w": ["a", "b"]}), str(tmp_path / "a.por"))
    expected = {"X": [1.5, None], "W": ["a", "b"]}
    found = rows(tmp_path / "a.por")
    assert {name.upper(): values for name, values in found.items()} == expected
    assert rows(tmp_path / "a.por", ReadOptions(encoding="latin-1")) == found


def test_a_file_that_sas_wrote() -> None:
    found = rows(KEPT / "pyreadstat.sas7bdat.xz")
    assert list(found) == ["mychar", "mynum", "mydate", "dtime", "mylabl", "myord", "mytime"]
    assert found["mychar"] == ["a", "b", "c", "d", "e"]
    assert found["mynum"] == [1.1, 1.2, -1000.3, -1.4, 1000.3]
    assert found["mydate"][0] == datetime.date(2018, 5, 6)
    assert found["dtime"][1] == datetime.datetime(1880, 5, 6, 10, 10, 10)
    assert found["mytime"][-1] is None


def test_a_geopackage_is_its_table_of_features(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.gpkg")) as database:
        database.executescript(
            "create table gpkg_contents (table_name text, data_type text);"
            "insert into gpkg_contents values ('towns', 'features');"
            "create table gpkg_spatial_ref_sys (srs_id integer); create table rtree_towns_geom (id integer);"
            "create table towns (fid integer primary key, geom blob, name text, people integer)"
        )
        point = b"GP\0\x01" + struct.pack("<i", 4326) + struct.pack("<BIdd", 1, 1, 8.5, 47.4)
        database.executemany("insert into towns values (?, ?, ?, ?)", [(1, point, "Zug", 30), (2, point, "Ulm", 126)])
        database.commit()
    found = rows(tmp_path / "a.gpkg")
    assert (found["name"], found["people"]) == (["Zug", "Ulm"], [30, 126])


def test_a_damaged_file_of_stata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dta").write_bytes(b"x" * 200)
    with pytest.raises(DataError, match=r"a\.dta: cannot be read as dta"):
        read_source(str(tmp_path / "a.dta"))


# Weka, numpy, LIBSVM, Avro

ARFF = "@relation r\n@attribute x numeric\n@attribute 'my class' {yes,'no é'}\n@attribute d date 'yyyy-MM-dd'\n@data\n"


def test_arff_of_weka(tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(ARFF + "1.5,yes,2024-01-02\n?,'no é',2024-01-03\n3,?,2024-01-04\n", "utf-8")
    found = rows(tmp_path / "a.arff")
    assert found["x"] == [1.5, None, 3.0]
    assert found["my class"] == ["yes", "no é", None]
    assert found["d"][0] == datetime.datetime(2024, 1, 2)


def test_sparse_arff_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(ARFF + "% none\n{0 1.5, 1 yes}\n")
    with pytest.raises(DataError, match=r"a\.arff:7: is a sparse ARFF row"):
        read_source(str(tmp_path / "a.arff"))


def test_quotes_and_escapes_of_arff(tmp_path: Path) -> None:
    head = '@RELATION r\n@ATTRIBUTE "a, b" STRING\n@attribute n INTEGER\n@attribute t date\n@DATA\n'
    (tmp_path / "a.arff").write_text(head + "'it\\'s, %',1,2024-01-02T03:04:05\n\"x\" , ?, ?\nplain word,3,?\n")
    assert rows(tmp_path / "a.arff") == {
        "a, b": ["it's, %", "x", "plain word"],
        "n": [1, None, 3],
        "t": [datetime.datetime(2024, 1, 2, 3, 4, 5), None, None],
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,yes", r":6: has 2 values for 3 attributes"),
        ("1,'yes,2024-01-01", r":6: has a quote that is not closed"),
        ("one,yes,2024-01-01", r": column 'x' is numeric and holds 'one'"),
    ],
)
def test_malformed_rows_of_arff_are_named(row: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.arff").write_text(f"{ARFF}{row}\n")
    with pytest.raises(DataError, match=said):
        read_source(str(tmp_path / "a.arff"))


def test_arff_agrees_with_scipy(tmp_path: Path) -> None:
    from scipy.io import arff

    generator = np.random.default_rng(0)
    lines = [f"{value!r},{'abc'[at % 3]},{at}" for at, value in enumerate(generator.normal(size=50).tolist())]
    header = "@relation r\n@attribute x real\n@attribute c {a,b,c}\n@attribute n integer\n@data\n"
    (tmp_path / "a.arff").write_text(header + "\n".join(lines))
    theirs, _ = arff.loadarff(tmp_path / "a.arff")
    ours = rows(tmp_path / "a.arff")
    assert ours["x"] == theirs["x"].tolist()
    assert ours["c"] == [word.decode() for word in theirs["c"]]
    assert ours["n"] == theirs["n"].tolist()


def test_arrays_of_numpy(tmp_path: Path) -> None:
    days = np.array(["2024-01-01", "NaT"], dtype="M8[D]")
    np.savez(tmp_path / "a.npz", x=np.arange(4).reshape(2, 2), y=np.array(["a", "é"]), t=days)
    assert rows(tmp_path / "a.npz") == {"x_0": [0, 2], "x_1": [1, 3], "y": ["a", "é"], "t": [DAYS[0], None]}
    np.save(tmp_path / "a.npy", np.array([[1.5, np.nan], [2.0, 3.0]]))
    assert rows(tmp_path / "a.npy") == {"x0": [1.5, 2.0], "x1": [None, 3.0]}
    np.save(tmp_path / "s.npy", np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("w", "U3")]))
    assert rows(tmp_path / "s.npy") == {"n": [1, 2], "w": ["a", "b"]}


def test_pixels_of_numpy_are_images(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    np.savez(tmp_path / "a.npz", x=np.full((2, 3, 4), 7, dtype=np.uint8), y=np.array([0, 1]))
    image = Image.open(BytesIO(rows(tmp_path / "a.npz")["x"][0]))
    assert (image.size, image.getpixel((0, 0))) == ((4, 3), 7)


def test_objects_of_numpy_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(DataError, match=r"a\.npz: holds Python objects, which are not read"):
        read_source(str(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", x_train=np.zeros((3, 2)), x_test=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"differ in length \(x_train 3×2, x_test 2×2\)"):
        read_source(str(tmp_path / "b.npz"))


def test_libsvm_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import dump_svmlight_file

    values = np.array([[0.0, 1.5], [2.0, 0.0]])
    dump_svmlight_file(values, [1, -1], str(tmp_path / "a.libsvm"), zero_based=False)
    read = read_source(str(tmp_path / "a.libsvm"))
    assert read.frame.to_dict(as_series=False) == {"label": [1, -1], "x1": [0.0, 2.0], "x2": [1.5, 0.0]}
    assert read.target == "label"
    dump_svmlight_file(values, [0.5, 1], str(tmp_path / "q.svmlight"), zero_based=True, query_id=[3, 4])
    found = rows(tmp_path / "q.svmlight")
    assert found == {"label": [0.5, 1.0], "qid": [3, 4], "x0": [0.0, 2.0], "x1": [1.5, 0.0]}


def test_several_labels_of_libsvm(tmp_path: Path) -> None:
    (tmp_path / "a.svm").write_text("1,3 1:0.5\n 2:1\n")
    assert rows(tmp_path / "a.svm")["label"] == [["1", "3"], []]


def test_avro_of_polars(tmp_path: Path) -> None:
    pl.DataFrame({"x": [1, None], "w": ["a", "b"]}).write_avro(tmp_path / "a.avro")
    assert rows(tmp_path / "a.avro") == {"x": [1, None], "w": ["a", "b"]}


# Databases


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()
    return path


def test_tables_of_sqlite(tmp_path: Path) -> None:
    path = database(
        tmp_path / "a.db",
        'create table "my ""t"" able" (n integer, f real, w text, ok boolean, d date)',
        "insert into \"my \"\"t\"\" able\" values (1, 2, 'a', 1, '2024-01-01'), (null, 1.5, 'é', 0, '2024-01-02')",
    )
    assert rows(path) == {"n": [1, None], "f": [2.0, 1.5], "w": ["a", "é"], "ok": [True, False], "d": DAYS[:2]}
    database(path, "create table other (x)", "insert into other values (1), ('word')")
    with pytest.raises(DataError, match=r'holds several tables \(my "t" able, other\); name one, as a\.db::my'):
        read_source(str(path))
    assert rows(f"{path}::other") == {"x": ["1", "word"]}
    with pytest.raises(DataError, match=r"has no table 'othr'; the nearest is .other"):
        read_source(f"{path}::othr")


def test_no_sql_of_the_user_is_run(tmp_path: Path) -> None:
    path = database(tmp_path / "a.sqlite", "create table t (x)", "insert into t values (1)")
    before = path.read_bytes()
    with pytest.raises(DataError, match="has no table"):
        read_source(f'{path}::t"; drop table t; --')
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tables_of_duckdb(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "a.duckdb"
    with duckdb.connect(str(path)) as opened:
        opened.execute(
            'create table "od""d" as select 1 as n, \'123e4567-e89b-12d3-a456-426614174000\'::uuid as u, '
            "interval 3 day as gap, 7::hugeint as big, date '2024-01-01' as d, 1.25::decimal(5,2) as m, 'a' as w"
        )
    found = rows(path)
    assert found.pop("m") == [pytest.approx(1.25)] or found
    assert found == {
        "n": [1],
        "u": ["123e4567-e89b-12d3-a456-426614174000"],
        "gap": ["3 days"],
        "big": [7.0],
        "d": DAYS[:1],
        "w": ["a"],
    }
    with duckdb.connect(str(path)) as opened:
        opened.execute("create schema s; create table s.t as select 5 as x; create view v as select 6 as x")
    with pytest.raises(DataError, match=r'several tables \(od"d, v, s\.t\)'):
        read_source(str(path))
    assert (rows(f"{path}::s.t"), rows(f"{path}::v")) == ({"x": [5]}, {"x": [6]})


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="neither an SQLite nor a DuckDB file"):
        read_source(str(tmp_path / "a.db"))


def test_parts_of_a_file_without_parts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"a\.csv: has no parts to choose by ::x"):
        read_source(f"{tmp_path / 'a.csv'}::x")


# Partitions


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_partitions_of_duckdb(suffix: str, tmp_path: Path) -> None:
    import duckdb

    query = "select i as x, 2023 + i % 2 as year, case when i < 2 then 'a b' end as site from range(4) t(i)"
    duckdb.sql(f"copy ({query}) to '{tmp_path / 'p'}' (format {suffix}, partition_by (year, site))")
    for source in (str(tmp_path / "p"), f"{tmp_path}/p/**/*.{suffix}"):
        found = read_source(source).frame.sort("x").to_dict(as_series=False)
        assert found == {"x": [0, 1, 2, 3], "year": [2023, 2024, 2023, 2024], "site": ["a b", "a b", None, None]}


def test_partitions_of_polars_and_pyarrow(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"x": [1, 2, 3], "day": ["2024-01-01", "2024-01-02", "2024-01-01"], "zip": ["01234", "9", "9"]}
    )
    frame.to_parquet(tmp_path / "p", partition_cols=["day", "zip"])
    found = read_source(str(tmp_path / "p")).frame.sort("x").to_dict(as_series=False)
    assert found == {"x": [1, 2, 3], "day": [DAYS[0], DAYS[1], DAYS[0]], "zip": ["01234", "9", "9"]}


def test_one_file_of_a_partition_has_its_columns(tmp_path: Path) -> None:
    folder = tmp_path / "month=01" / "rate=0.5"
    folder.mkdir(parents=True)
    (folder / "part.csv").write_bytes(TEXT)
    (tmp_path / "month=01" / "_SUCCESS").touch()
    assert rows(folder / "part.csv") == {"x": [1, 2], "w": ["a", "b"], "month": [1, 1], "rate": [0.5, 0.5]}


def test_partitions_that_are_codes_keep_their_zeros(tmp_path: Path) -> None:
    for code in ("01", "02", "10"):
        folder = tmp_path / "p" / "month=01" / f"code={code}"
        folder.mkdir(parents=True)
        (folder / "part.csv").write_bytes(TEXT)
    found = read_source(str(tmp_path / "p")).frame
    assert found.select("month", "code").unique().sort("code").rows() == [(1, "01"), (1, "02"), (1, "10")]


def test_a_category_by_partition_keeps_the_spelling_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "version=1.10").mkdir()
    (tmp_path / "version=1.10" / "a.csv").write_bytes(TEXT)
    read = read_source(str(tmp_path), ReadOptions(words=frozenset({"version"})))
    assert read.frame["version"].to_list() == ["1.10", "1.10"]


def test_files_of_different_layouts_are_refused(tmp_path: Path) -> None:
    for folder in ("year=1", "year=1/month=2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_bytes(TEXT)
    with pytest.raises(DataError, match=r"say year, month, those of .* year;"):
        read_source(str(tmp_path))


# Splits given apart


def test_splits_are_stacked_as_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,split\n1,9\n2,9\n")
    (tmp_path / "b.csv").write_text("x,split\n3,8\n")
    read = read_source(SplitSources(train=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv")))
    assert read.split_column == "split_2"
    assert read.frame.to_dict(as_series=False) == {
        "x": [1, 2, 3],
        "split": [9, 9, 8],
        "split_2": ["train", "train", "test"],
    }
    (tmp_path / "b.csv").write_text("x\n3\n")
    with pytest.raises(DataError, match=r"b\.csv: other columns than .*a\.csv: split"):
        read_source(SplitSources(train=str(tmp_path / "a.csv"), test=str(tmp_path / "b.csv")))


# What is not read


@pytest.mark.parametrize("suffix", sorted(INSTEAD))
def test_a_format_that_is_not_read_says_how_to_bring_it_in(suffix: str, tmp_path: Path) -> None:
    assert suffix not in READERS
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(DataError, match=rf"cannot read \{suffix}; \w+") as refused:
        read_source(str(tmp_path / f"a{suffix}"))
    assert "\n" not in str(refused.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    import pickle

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(DataError, match="reading it can run code, so danlu does not"):
        read_source(str(tmp_path / "a.pkl"))
    assert not (tmp_path / "harm").exists()


def test_files_beside_tables_are_about_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT)
    (tmp_path / "datapackage.json").write_text('{"name": "about"}')
    (tmp_path / "backup.zip").write_bytes(b"x")
    assert rows(tmp_path) == {"x": [1, 2], "w": ["a", "b"]}


@pytest.mark.parametrize("page", ["formats.md", "formats.zh.md"])
def test_the_table_of_formats_names_every_suffix_and_its_tests(page: str) -> None:
    tests = Path(__file__).parents[2]
    lines = (tests.parent / "docs" / page).read_text(encoding="utf-8").splitlines()
    cells = [line.split("|")[1:-1] for line in lines if "::test_" in line]
    named = {suffix for _, suffixes, *_ in cells for suffix in re.findall(r"`(\.\w+)`", suffixes)}
    assert named == {*READERS, *OPENERS, ".txt"}
    for *_, test in cells:
        file, name = test.strip(" `").split("::")
        assert f"def {name}(" in (tests / file).read_text(encoding="utf-8"), name


@pytest.mark.slow
def test_neither_pyarrow_nor_pandas_is_needed(tmp_path: Path) -> None:
    import duckdb
    import pandas as pd
    import pyreadstat

    workbook(tmp_path / "a.xlsx", {"S": [["x"], [1]]})
    pyreadstat.write_sav(pd.DataFrame({"x": [1]}), str(tmp_path / "a.sav"))
    with duckdb.connect(str(tmp_path / "a.duckdb")) as opened:
        opened.execute("create table t as select 1 as x")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "a.parquet")
    program = (
        "import importlib.abc, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('pyarrow', 'pandas'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from danlu.data.sources.reader import read_source\n"
        "for name in ('xlsx', 'sav', 'duckdb', 'parquet'):\n"
        f"    assert read_source(r'{tmp_path}/a.' + name).frame['x'].to_list() == [1], name\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
