"""Separated values as programs and people write them: the table that was meant, or a refusal with the line."""

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.file_form import ReadOptions
from danlu.data.sources.csv_copy import normalized_csv
from danlu.data.sources.reader import read_source
from danlu.errors import DataError


def read(
    folder: Path, text: str, name: str = "a.csv", skip_rows: int | None = None
) -> tuple[list[str], list[tuple[object, ...]], int]:
    """Names, rows, and how many lines were passed over."""
    (folder / name).write_bytes(text.encode())
    found = read_source(str(folder / name), ReadOptions(skip_rows=skip_rows))
    return found.frame.columns, found.frame.rows(), found.form.skipped_rows


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("above", "lines"),
    [
        ("", 0),
        ("sep=;\n", 1),
        ('"sep=;"\n', 1),
        ("# made by a program; 2024\n", 1),
        ("% one\n%\n% three\n", 3),
        ("Report of sales\n", 1),
        ("Report of sales; 2024\n", 1),
        ("Report of sales\nby region\n\n", 3),
        ("Report;;\n;;\n", 2),
        ("\n\n", 2),
        ("sep=;\n# a\nReport\n\n", 4),
    ],
)
def test_lines_above_the_header(tmp_path: Path, above: str, lines: int, line_end: str) -> None:
    text = above + 'x;"c;d";y\n1;a;no\n2;b;yes\n'
    found = read(tmp_path, text.replace("\n", line_end))
    assert found == (["x", "c;d", "y"], [(1, "a", "no"), (2, "b", "yes")], lines)


def test_lines_above_a_header_of_words_are_known_by_the_blank_line_or_by_the_recipe(tmp_path: Path) -> None:
    table, rows = "name,city,z\nAnn,Rome,n\nBob,Oslo,m\n", [("Ann", "Rome", "n"), ("Bob", "Oslo", "m")]
    assert read(tmp_path, f"Guests\n\n{table}") == (["name", "city", "z"], rows, 2)
    assert read(tmp_path, f"Guests\n{table}", skip_rows=1) == (["name", "city", "z"], rows, 1)
    with pytest.raises(DataError, match=r"a\.csv:2: has 3 values, but the header has 1 columns.*`data\.skip_rows`"):
        read(tmp_path, f"Guests\n{table}")


def test_the_recipe_says_that_nothing_stands_above(tmp_path: Path) -> None:
    assert read(tmp_path, "# of rooms\n3\n4\n", skip_rows=0) == (["# of rooms"], [(3,), (4,)], 0)
    assert read(tmp_path, "#id,x\n1,2\n3,4\n") == (["#id", "x"], [(1, 2), (3, 4)], 0)


def test_a_first_line_that_may_be_the_header_is_the_header(tmp_path: Path) -> None:
    assert read(tmp_path, "% change,name\nlow,Ann\nhigh,Bob\n")[::2] == (["% change", "name"], 0)
    assert read(tmp_path, "#,name,score\n1,Ann,5\n2,Bob,7\n")[::2] == (["#", "name", "score"], 0)
    with pytest.raises(DataError, match=r"a\.csv:2: has 3 values, but the header has 2 columns"):
        read(tmp_path, "name,city\nAnn,Rome,unknown\nBob,Oslo,3\nCid,Bonn,4\n")
    with pytest.raises(DataError, match=r"a\.csv:2: has 3 values, but the header has 2 columns"):
        read(tmp_path, "first name,city\nAnn,Rome,NA\nBob,Oslo,3\nCid,Bonn,4\n")


def test_rows_longer_than_what_is_looked_at_first(tmp_path: Path) -> None:
    long = "a, b\n" * 9000
    names, rows, above = read(tmp_path, "Report\nt;x;y\n" + "".join(f'"{long}";{row};n\n' for row in range(40)))
    assert (names, above) == (["t", "x", "y"], 1)
    assert rows == [(long, row, "n") for row in range(40)]


def test_the_world_banks_tables(tmp_path: Path) -> None:
    text = (
        '\ufeff"Data Source","World Development Indicators",\n\n"Last Updated Date","2024-01-01",\n\n'
        '"Country Name","Code","1960","1961",\n"Aruba","ABW","54211","55438",\n"Chad","TCD","8996351","",\n'
    )
    rows = [("Aruba", "ABW", 54211, 55438), ("Chad", "TCD", 8996351, None)]
    assert read(tmp_path, text) == (["Country Name", "Code", "1960", "1961"], rows, 4)


def test_separators_within_quoted_names(tmp_path: Path) -> None:
    text = '"Weight, kg";"Height, cm";y\n0;1;no\n2;3;yes\n'
    assert read(tmp_path, text)[:2] == (["Weight, kg", "Height, cm", "y"], [(0, 1, "no"), (2, 3, "yes")])


def test_the_separator_makes_the_rows_even(tmp_path: Path) -> None:
    assert read(tmp_path, "a;b\n1,5;2,5\n3,5;4,5\n")[:2] == (["a", "b"], [("1,5", "2,5"), ("3,5", "4,5")])
    assert read(tmp_path, "a, b, c|d\n1|2\n3|4\n")[:2] == (["a, b, c", "d"], [(1, 2), (3, 4)])


def test_a_single_column_may_hold_other_files_separators(tmp_path: Path) -> None:
    assert read(tmp_path, "text\nhello, world\nyes, sir\n")[:2] == (["text"], [("hello, world",), ("yes, sir",)])
    assert read(tmp_path, "preis\n3,5\n4,5\n")[:2] == (["preis"], [("3,5",), ("4,5",)])
    with pytest.raises(DataError, match=r"a\.csv:2: has 2 values, but the header has 1 columns"):
        read(tmp_path, "text\na,b\nc,d\n")


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("x;c;\n1;a;\n2;b;\n", ["x", "c"], [(1, "a"), (2, "b")]),
        ("x;c;;;\n1;a;;;\n2;b;;;\n", ["x", "c"], [(1, "a"), (2, "b")]),
        ("x;c\n1;a;\n2;b;\n", ["x", "c"], [(1, "a"), (2, "b")]),
        ("x;c;\n1;a\n2;b\n", ["x", "c"], [(1, "a"), (2, "b")]),
        ("x;c;\n1;a;\n2;b;note\n", ["x", "c", "Unnamed: 2"], [(1, "a", None), (2, "b", "note")]),
        (";x;;c\n1;2;3;a\n", ["Unnamed: 0", "x", "Unnamed: 2", "c"], [(1, 2, 3, "a")]),
        (";Unnamed: 0\n1;2\n", ["Unnamed: 0_", "Unnamed: 0"], [(1, 2)]),
        ("x;c\n1;a\n;\n2;b\n;\n ; \n\n;\n", ["x", "c"], [(1, "a"), (None, None), (2, "b")]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_blank_names_and_empty_ends(
    tmp_path: Path, text: str, names: list[str], rows: list[tuple[object, ...]], packed: bool
) -> None:
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    frame = read_source(str(path)).frame
    expected = [row for row in rows if "\n\n" not in text or row != (None, None)]
    assert (frame.columns, frame.rows()) == (names, expected)


def test_the_index_of_pandas(tmp_path: Path) -> None:
    pd.DataFrame({"x": [0.5, 1.5], "y": ["a", "b"]}, index=[7, 8]).to_csv(tmp_path / "a.csv")
    frame = read_source(str(tmp_path / "a.csv")).frame
    assert frame.columns == pd.read_csv(tmp_path / "a.csv").columns.to_list() == ["Unnamed: 0", "x", "y"]
    assert frame.rows() == [(7, 0.5, "a"), (8, 1.5, "b")]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('x,item\n1,3" pipe\n2,4" x 5"\n3,6"\n', ['3" pipe', '4" x 5"', '6"']),
        ('x,item\n1,3" pipe\n2,"a, b"\n3,6"\n', ['3" pipe', "a, b", '6"']),
        ('x,item\n1,"a ""b"""\n2,c\n3,6"\n', ['a "b"', "c", '6"']),
        ('x,item\n1,"Weird" Al\n2,"Rome\n3,c\n', ['"Weird" Al', '"Rome', "c"]),
        ('x, item\n1, "a, b"\n2, "c"\n', ["a, b", "c"]),
        ('x, "item"\n1, "a, b"\n2, "c"\n', ["a, b", "c"]),
        ('x, "item"\n1, "a"\n2, "c"\n', ["a", "c"]),
        ("x,item\n1,'a, b'\n2,'c'\n", ["a, b", "c"]),
        ("'x','item'\n'1','it'\n'2','c'\n", ["it", "c"]),
        ("x,item\n1,it's\n2,don't\n", ["it's", "don't"]),
        ('x,item\n1,"say \\"hi\\", you"\n2,"a \\\\ b"\n3,"c:\\new"\n', ['say "hi", you', "a \\ b", "c:\\new"]),
        ('x,item\n1,"ends \\""\n2,"b"\n', ['ends "', "b"]),
        ('x,item\n1,"C:\\dir\\"\n2,"C:\\x\\"\n', ["C:\\dir\\", "C:\\x\\"]),
        ('x,item\n1,"a\nb"\n2,3" x\n', ["a\nb", '3" x']),
    ],
)
def test_quotation_marks(tmp_path: Path, text: str, column: list[str]) -> None:
    names, rows, _ = read(tmp_path, text)
    assert names == ["x", names[1]]
    assert names[1].strip() == "item"
    assert [row[1] for row in rows] == column
    assert [row[0] for row in rows] == list(range(1, len(column) + 1))


def test_values_longer_than_pythons_reader_takes(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    _, rows, _ = read(tmp_path, 'x,item\n1,"' + "a" * 300_000 + '"\n2,3" pipe\n')
    assert [len(str(row[1])) for row in rows] == [300_000, 7]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("above", ["", "# a\n# b\n"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('id,t\n1,"a"\n2,"b "c" d, e"\n3,"f"\n', r":3: a value that begins with a quotation mark does not end"),
        ('id,t\n1,"a"\n2,"b\n3,"f\n4,"g"\n', r":3: a value that begins with a quotation mark does not end"),
        ('id,t\n1,"a"\n2,b,c\n', r":3: has 3 values, but the header has 2 columns"),
        ('id,t\n1,"a\nb"\n2\n', r":4: has 1 values, but the header has 2 columns"),
        ('id,t\n1,3" a\n2,4",b\n', r":3: has 3 values, but the header has 2 columns"),
        ('id,t\n1,"a \\" b"\n2,"c",d\n', r":3: has 3 values, but the header has 2 columns"),
    ],
)
def test_broken_lines_are_named_as_they_stand_in_the_file(tmp_path: Path, above: str, text: str, said: str) -> None:
    line = int(said[1])
    with pytest.raises(DataError, match=rf"a\.csv:{line + above.count(chr(10))}{said[2:]}"):
        read(tmp_path, above + text)


def test_escapes_as_pandas_writes_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": ['say "hi", you', "back \\ slash", "plain", 'end "', "two\nlines"], "x": range(5)})
    frame.to_csv(tmp_path / "a.csv", index=False, escapechar="\\", doublequote=False)
    assert read_source(str(tmp_path / "a.csv")).frame["t"].to_list() == frame["t"].to_list()


def test_escapes_as_duckdb_writes_them(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    values = ['say "hi", you', "plain", 'end "', "two\nlines"]
    connection = duckdb.connect()
    connection.execute("create table t (t varchar, x integer)")
    connection.executemany("insert into t values (?, ?)", [(value, place) for place, value in enumerate(values)])
    connection.execute(f"copy t to '{tmp_path / 'a.csv'}' (header, escape '\\')")
    assert read_source(str(tmp_path / "a.csv")).frame["t"].to_list() == values


def test_files_that_polars_reads_as_they_are_meant_are_not_copied(tmp_path: Path) -> None:
    for name, text in (
        ("plain.csv", "x,y\n1,a\n"),
        ("quoted.csv", 'x,y\n1,"a, ""b"""\n'),
        ("stray.csv", 'x,y\n1,3" pipe\n'),
        ("mark.csv", "\ufeffx;y\n1;é\n"),
        ("bar.csv", "x|y\r\n1|a\r\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        assert normalized_csv(tmp_path / name, ReadOptions())[0] == tmp_path / name


# What is written must not look like a missing word once it is read, nor be a carriage return alone.
words = st.text(
    st.one_of(st.sampled_from("\",;|\t'\\\n #%="), st.characters(codec="utf-8", exclude_characters="\r\0\ufeff")),
    max_size=8,
).map(lambda text: f"w{text}.")
DIALECTS: list[dict[str, object]] = [
    {"delimiter": ","},
    {"delimiter": ";", "quoting": csv.QUOTE_ALL},
    {"delimiter": "\t"},
    {"delimiter": "|", "quoting": csv.QUOTE_NONNUMERIC},
    {"delimiter": ",", "doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL},
    {"delimiter": ";", "doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL},
]


@given(
    st.lists(st.tuples(words, st.integers(-999, 999), words), min_size=2, max_size=8),
    st.sampled_from(DIALECTS),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "# a comment\n", "sep=DELIMITER\n", "A title\n\n"]),
    st.integers(0, 3),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=300, deadline=None)
def test_python_and_polars_agree(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int, str]],
    dialect: dict[str, object],
    line_end: str,
    above: str,
    empty: int,
    encoding: str,
) -> None:
    """Whatever the dialect, what Python's writer was given is what polars reads."""
    if "escapechar" in dialect:  # known by a mark that is escaped
        rows = [*rows, ('w"', 0, "w")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end, **dialect)  # type: ignore[arg-type]
    writer.writerows([("first", "number", "last"), *rows])
    separator = str(dialect["delimiter"])
    end = (separator * 2 + line_end) * empty
    content = above.replace("DELIMITER", separator).replace("\n", line_end) + text.getvalue() + end
    path = tmp_path_factory.mktemp("dialect") / "a.csv"
    path.write_bytes(content.encode(encoding))
    frame = read_source(str(path)).frame
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["first", "number", "last"]
    assert frame.rows() == rows


@given(
    st.text(st.sampled_from('a", \n\\'), max_size=30),
    st.integers(1, 9),
)
@settings(max_examples=400, deadline=None)
def test_a_survey_says_the_same_however_a_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int
) -> None:
    from danlu.data.sources import csv_survey

    path = tmp_path_factory.mktemp("survey") / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    whole = csv_survey.survey(path, ",", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_survey, "BLOCK", block)
        assert csv_survey.survey(path, ",", "\n") == whole
    assert whole.size == len(text)
    assert whole.sound == _is_sound(text)
    assert text[whole.end :].strip(", \n") == ""


def _is_sound(text: str) -> bool:
    """Whether each value is quoted as a whole, its quotation marks doubled, or holds none."""
    place = 0
    while place <= len(text):
        closed = False
        if text[place : place + 1] == '"':
            place += 1
            while place < len(text) and (text[place] != '"' or text[place : place + 2] == '""'):
                place += 2 if text[place] == '"' else 1
            if place >= len(text):
                return False
            place, closed = place + 1, True
        while place < len(text) and text[place] not in ",\n":
            if text[place] == '"' or closed:
                return False
            place += 1
        place += 1
    return True
