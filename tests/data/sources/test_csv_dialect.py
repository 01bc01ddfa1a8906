"""Separated values of any make: the right table or a clear refusal, never a silent change, whatever the dialect."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.file_form import ReadOptions
from danlu.data.sources import csv_survey, scans, separated
from danlu.data.sources.reader import read_source
from danlu.errors import DataError

MISSING = ReadOptions(("", "NA"))
# Any text but what means something else on its own: missing values, numbers, line ends of other systems alone.
words = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r"), min_size=1, max_size=12)
values = words.map(lambda text: "w" + text)
numbers = st.integers(-(2**70), 2**70)


@given(
    st.lists(st.tuples(values, numbers, st.floats(-1e9, 1e9)), min_size=1, max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.lists(st.sampled_from(["\n", "\r\n"]), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int, float]],
    separator: str,
    line_ends: list[str],
    mark: bool,
    blank: bool,
) -> None:
    """Quotes, separators, line ends and NUL inside values, huge integers, an empty column, a byte order mark, line ends
    of two kinds, blank lines: all as written."""
    lines = []
    for number, row in enumerate([("word", "count", "size", "empty"), *((*row, None) for row in rows)]):
        text, line_end = io.StringIO(), line_ends[number % len(line_ends)]
        csv.writer(text, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_NONNUMERIC).writerow(row)
        lines.append(text.getvalue())
    path = tmp_path_factory.mktemp("dialect") / "table.csv"
    content = ("\ufeff" if mark else "") + "".join(lines) + (line_ends[0] if blank else "")
    path.write_bytes(content.encode())
    frame = read_source(str(path), MISSING).frame
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["word", "count", "size", "empty"]
    assert frame["empty"].to_list() == [None] * len(rows)
    assert frame["word"].to_list() == [word for word, _, _ in rows]
    assert [int(count) for count in frame["count"]] == [count for _, count, _ in rows]
    assert frame["size"].to_list() == pytest.approx([size for _, _, size in rows])


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "table.csv"
    path.write_bytes(content)
    refusal, rows = "", 0
    try:
        rows = read_source(str(path), MISSING).frame.height
    except DataError as refused:
        refusal = str(refused)
    assert rows > 0 or str(path) in refusal


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_uneven_rows_are_refused_with_their_line(tmp_path_factory: pytest.TempPathFactory, widths: list[int]) -> None:
    path = tmp_path_factory.mktemp("ragged") / "table.csv"
    path.write_text("a,b,c\n" + "".join(",".join(["7"] * width) + "\n" for width in widths))
    uneven = next((line for line, width in enumerate(widths, 2) if width != 3), None)
    if uneven is None:
        assert read_source(str(path), MISSING).frame.height == len(widths)
    else:
        with pytest.raises(DataError, match=rf"table\.csv:{uneven}: has \d values, but the header has 3 columns"):
            read_source(str(path), MISSING)


@pytest.mark.parametrize("content", ["a,b\n1,x\r2,y\n3,z\n", "a,b\r1,x\n2,y\r3,z\r"])
def test_a_lone_carriage_return_among_other_line_ends_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "mixed.csv").write_bytes(content.encode())
    with pytest.raises(DataError, match=r"mixed\.csv:[12]: the row holds a lone carriage return"):
        read_source(str(tmp_path / "mixed.csv"), MISSING)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("x,y,x\n1,2,3\n")
    with pytest.raises(DataError, match="the header names 'x' more than once"):
        read_source(str(tmp_path / "twice.csv"), MISSING)


@pytest.mark.parametrize("block", range(1, 12))
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_blank_line_is_seen_wherever_a_file_is_cut_to_be_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, line_end: str
) -> None:
    monkeypatch.setattr(csv_survey, "BLOCK", block)
    (tmp_path / "blank.csv").write_bytes(line_end.join(["x,y", "1,2", "", "3,4", ""]).encode())
    assert read_source(str(tmp_path / "blank.csv"), MISSING).frame.rows() == [(1, 2), (3, 4)]


def test_a_row_of_nothing_but_separators_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("x,y\n1,2\n,\n3,4\n")
    assert read_source(str(tmp_path / "empty.csv"), MISSING).frame.rows() == [(1, 2), (None, None), (3, 4)]


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        ("1", "1.5", [1.0, 1.5]),
        ("1", "abc", ["1", "abc"]),
        ("", "3", [None, 3]),
        ("true", "false", [True, False]),
        ("1", "123456789012345678901234567890", [1, 123456789012345678901234567890]),
        ("2020-01-02", "unknown", ["2020-01-02", "unknown"]),
    ],
)
def test_a_type_that_the_first_rows_suggest_is_not_forced_on_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, later: str, expected: list[object]
) -> None:
    monkeypatch.setattr(separated, "SEEN_ROWS", 5)
    (tmp_path / "late.csv").write_text("x,y\n" + f"{first},1\n" * 20 + f"{later},1\n")
    frame = read_source(str(tmp_path / "late.csv"), MISSING).frame
    assert isinstance(frame, pl.DataFrame)
    assert [frame["x"][0], frame["x"][-1]] == expected
    assert frame["y"].dtype == pl.Int64


def test_a_large_file_is_read_in_parts_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.data.frames import DiskFrame
    from danlu.experiment.data_context import fit_preprocessing, load_data
    from danlu.recipe.load import check_recipe

    generator = pl.Series(range(3000))
    frame = pl.DataFrame(
        {"x": (generator * 37 % 101).cast(pl.Float64) / 7, "c": (generator % 5).cast(pl.String), "y": generator % 2}
    )
    found = []
    for folder, large in (("held", 1 << 30), ("parts", 0)):
        monkeypatch.setattr(scans, "LARGE", large)
        for suffix in ("csv", "parquet"):
            path = tmp_path / folder / f"table.{suffix}"
            path.parent.mkdir(exist_ok=True)
            getattr(frame, f"write_{suffix}")(path)
            clean = {"duplicates": "drop", "outliers": {}}
            data = load_data(check_recipe({"data": {"source": str(path), "target": "y", "clean": clean}}))
            assert isinstance(data.dataset.frame, DiskFrame) == (large == 0)
            rows = {name: part.rows.tolist() for name, part in data.splits.items()}
            found.append((rows, data.dropped.rows(), fit_preprocessing(data).preprocessor.model_dump_json()))
    assert all(other == found[0] for other in found[1:])


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ('"size ""L""",x', ['size "L"', "x"]),
        ('x,"a, ""b"""', ["x", 'a, "b"']),
        ("x^2,y", ["x^2", "y"]),  # the first two bytes of what zlib packs
    ],
)
def test_names_are_what_the_header_says(tmp_path: Path, header: str, names: list[str]) -> None:
    (tmp_path / "t.csv").write_text(header + "\n1,2\n3,4\n")
    frame = read_source(str(tmp_path / "t.csv"), MISSING).frame
    assert frame.columns == names
    assert frame[names[0]].to_list() == [1, 3]


# Spaces between values


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # R's write.table, with names of rows or without, and with a decimal comma
        ('"x" "c"\n"1" 1 "a b"\n"2" 2 NA\n', {"row.names": [1, 2], "x": [1, 2], "c": ["a b", None]}),
        ('"x" "c"\n1.5 "a, b"\n2.5 "c"\n', {"x": [1.5, 2.5], "c": ["a, b", "c"]}),
        ('"x" "c"\n"1" 1,5 "a"\n"2" 2,5 "c"\n', {"row.names": [1, 2], "x": ["1,5", "2,5"], "c": ["a", "c"]}),
        ("x c y\n1 a no\n2 b yes\n", {"x": [1, 2], "c": ["a", "b"], "y": ["no", "yes"]}),
        ("x c\n1 1 a\n2 2 b\n", {"row.names": [1, 2], "x": [1, 2], "c": ["a", "b"]}),
    ],
)
def test_single_spaces_separate_where_every_row_is_alike(tmp_path: Path, text: str, expected: dict[str, list]) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert read_source(str(tmp_path / "t.csv"), MISSING).frame.to_dict(as_series=False) == expected


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("full name\nAda Lovelace\nAlan Turing\n", ["Ada Lovelace", "Alan Turing"]),
        ("price €\n1 100\n1 200\n", ["1 100", "1 200"]),
        ("text\none two three\nfour five six\n", ["one two three", "four five six"]),
        ("a b c\n1 x y\n2 x\n", ["1 x y", "2 x"]),
    ],
)
def test_spaces_within_the_values_of_one_column_separate_nothing(tmp_path: Path, text: str, values: list[str]) -> None:
    (tmp_path / "t.csv").write_text(text)
    (column,) = read_source(str(tmp_path / "t.csv"), MISSING).frame
    assert column.to_list() == values


def test_values_that_stand_below_one_another_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("  x  c    y\n  1  a   no\n 12  b  yes\n")
    with pytest.raises(DataError, match=r"t\.csv:1: spaces bring the values below one another; separate them by"):
        read_source(str(tmp_path / "t.csv"))
