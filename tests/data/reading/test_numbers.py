"""Numbers as people write them: which formats fit a column's words, and the value of each word."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from danlu.data.reading.numbers import (
    Decimal,
    Grouping,
    NumberFormat,
    are_phone_numbers,
    has_leading_zeros,
    number_formats,
)

NBSP, NARROW, THIN = "\u00a0", "\u202f", "\u2009"


def series(words: Sequence[str | None]) -> pl.Series:
    return pl.Series("words", words, dtype=pl.String)


def values(words: Sequence[str | None], **signs: str) -> list[float | None]:
    """Parse the words by a format."""
    read = NumberFormat.model_validate(signs).parse(pl.col("words"))
    return series(words).to_frame().select(read).to_series().to_list()


def formats(*words: str) -> list[dict[str, str]]:
    """Return what each format has that the plain one has not."""
    return [format_.model_dump(exclude_defaults=True) for format_ in number_formats(series(words))]


def only_reading(*words: str) -> list[float | None]:
    """Read the words in their only format."""
    (format_,) = number_formats(series(words))
    return series(words).to_frame().select(format_.parse(pl.col("words"))).to_series().to_list()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["12", "-1.5", "+3", "0"], [12.0, -1.5, 3.0, 0.0]),
        (["1e5", "1.5E-3", ".5", "5.", "-.5"], [1e5, 0.0015, 0.5, 5.0, -0.5]),
        ([" 1 ", f"{NBSP}2\t"], [1.0, 2.0]),
        (["0.1", "0.30000000000000004", "9007199254740993"], [0.1, 0.1 + 0.2, 9007199254740992.0]),
        (["1.234", "5.6789"], [1.234, 5.6789]),
        (["1.234", "0.500"], [1.234, 0.5]),
        (["1.234", "5678"], [1.234, 5678.0]),  # who groups digits does so in every number
        (["１２", "－３．５"], [12.0, -3.5]),
        (["\u22121", "2"], [-1.0, 2.0]),
        (["(5)", "6"], [-5.0, 6.0]),
        (["100-", "5"], [-100.0, 5.0]),
        (["12.-", "-7.\u2014", "5.50"], [12.0, -7.0, 5.5]),
    ],
)
def test_plain_numbers_have_the_plain_format_only(words: list[str], expected: list[float]) -> None:
    assert formats(*words) == [{}]
    assert only_reading(*words) == expected


@pytest.mark.parametrize("words", [["1.234", "5.678"], ["-1.234", "900", "0"], ["+12.500"], ["(1.234)"]])
def test_points_that_may_group_digits_are_read_in_two_ways_the_plain_one_first(words: list[str]) -> None:
    assert formats(*words) == [{}, {"decimal": ",", "grouping": "."}]


@pytest.mark.parametrize(
    ("words", "signs", "expected"),
    [
        (["1,5"], {"decimal": ","}, [1.5]),
        (["1,5", "12", "-0,25"], {"decimal": ","}, [1.5, 12.0, -0.25]),
        ([",126", ",5"], {"decimal": ","}, [0.126, 0.5]),
        (["1,5E+03", "1,0e-1", "2"], {"decimal": ","}, [1500.0, 0.1, 2.0]),
        (["1,234E+03"], {"decimal": ","}, [1234.0]),  # an exponent has no groups
        (["0,123", "1,234"], {"decimal": ","}, [0.123, 1.234]),  # nor has a zero
        (["1,10", "12,345"], {"decimal": ","}, [1.1, 12.345]),
        (["１２，５"], {"decimal": ","}, [12.5]),
        (["1 100", "100", "1100"], {"grouping": " "}, [1100.0, 100.0, 1100.0]),
        (
            [f"1{NBSP}100", f"2{NARROW}100,5", f"3{THIN}100", "4 100 000"],
            {"decimal": ",", "grouping": " "},
            [1100.0, 2100.5, 3100.0, 4100000.0],
        ),
        (["1'100", "2\u2019200.5"], {"grouping": "'"}, [1100.0, 2200.5]),
        (["1,234.5", "3"], {"grouping": ","}, [1234.5, 3.0]),
        (["1,234,567", "1,234"], {"grouping": ","}, [1234567.0, 1234.0]),
        (["1,10,100", "1,23,45,678.5", "99"], {"grouping": ","}, [110100.0, 12345678.5, 99.0]),
        (["1.234,5", "7"], {"decimal": ",", "grouping": "."}, [1234.5, 7.0]),
        (["1.234.567", "1.234"], {"decimal": ",", "grouping": "."}, [1234567.0, 1234.0]),
        (["1_100", "2_000_000.5"], {"grouping": "_"}, [1100.0, 2000000.5]),
        (["(1,234.50)", "7", "-1"], {"grouping": ","}, [-1234.5, 7.0, -1.0]),
        (["12,-", "7,50", "-3,--", "4,\u2013"], {"decimal": ","}, [12.0, 7.5, -3.0, 4.0]),
        (["12,- €", "7,50 €"], {"decimal": ",", "suffix": "€"}, [12.0, 7.5]),
        (["CHF 1'200.-", "CHF 7.50"], {"grouping": "'", "prefix": "CHF"}, [1200.0, 7.5]),
        (["1'234,5", "1,25"], {"decimal": ",", "grouping": "'"}, [1234.5, 1.25]),
    ],
)
def test_one_format_fits(words: list[str], signs: dict[str, str], expected: list[float]) -> None:
    assert formats(*words) == [signs]
    assert only_reading(*words) == expected


@pytest.mark.parametrize(
    "unit",
    [
        *("€", "$", "£", "¥", "₹", "元", "万元", "CHF", "EUR", "kr", "zł", "R$", "Rs.", "Mio. €", "$ / kg", "%", "‰"),
        *("kg", "°C", "℃", "m²", "m3/s", "km/h", "m^-1", "m s-1", "µg/m³", "per month", "岁", "Stück", '"'),
    ],
)
def test_what_stands_behind(unit: str) -> None:
    words = [
        f"1.012,5{unit}",
        f"3 {unit}",
        f"4{NBSP}{unit}",
        f"-5{unit}",
        f"\u22126 {unit}",
        f"(7 {unit})",
        f"(8) {unit}",
    ]
    assert formats(*words) == [{"decimal": ",", "grouping": ".", "suffix": unit}]
    assert only_reading(*words) == [1012.5, 3.0, 4.0, -5.0, -6.0, -7.0, -8.0]


@pytest.mark.parametrize(
    "currency", ["€", "$", "£", "¥", "₿", "CHF", "EUR", "USD", "NOK", "kr", "kr.", "R$", "US$", "Rs.", "S/.", "元", "%"]
)
def test_what_stands_before(currency: str) -> None:
    words = [
        f"{currency}1,012.5",
        f"{currency} 3",
        f"-{currency}4",
        f"{currency}-5",
        f"({currency}6)",
        f"{currency}(7)",
    ]
    assert formats(*words) == [{"grouping": ",", "prefix": currency}]
    assert only_reading(*words) == [1012.5, 3.0, -4.0, -5.0, -6.0, -7.0]


def test_before_and_behind() -> None:
    assert formats("$5 USD", "$1,234.5 USD") == [{"grouping": ",", "prefix": "$", "suffix": "USD"}]
    assert only_reading("$5 / kg", "-$1.5 / kg") == [5.0, -1.5]


def test_full_width_signs_are_the_common_ones() -> None:
    assert formats("￥１２", "¥3") == [{"prefix": "¥"}]
    assert formats("５％", "6 %") == [{"suffix": "%"}]
    assert values(["￥12", "¥3"], prefix="￥") == [12.0, 3.0]


def test_a_unit_is_the_same_in_every_word_but_zero() -> None:
    assert only_reading("5 €", "0", "0.00") == [5.0, 0.0, 0.0]
    assert only_reading("0,0", "5,5%") == [0.0, 5.5]
    assert formats("5kg", "5g") == []
    assert formats("5kg", "6") == []
    assert formats("$5", "6€") == []
    assert formats("5 €", "0 $") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1,234", "5,678"], [{"grouping": ","}, {"decimal": ","}]),
        (["1,234", "12", "0"], [{"grouping": ","}, {"decimal": ","}]),
        (["1.234 €", "5.678 €"], [{"suffix": "€"}, {"decimal": ",", "grouping": ".", "suffix": "€"}]),
        (["$1,234"], [{"grouping": ",", "prefix": "$"}, {"decimal": ",", "prefix": "$"}]),
    ],
)
def test_ambiguous_words_have_every_format(words: list[str], expected: list[dict[str, str]]) -> None:
    assert formats(*words) == expected


def test_ambiguous_words_have_other_values_in_each_format() -> None:
    assert values(["1,234"], grouping=",") == [1234.0]
    assert values(["1,234"], decimal=",") == [1.234]


@pytest.mark.parametrize(
    "words",
    [
        *([word] for word in ("inf", "nan", "-Infinity", "1e400", "", " ", "-", "€", "kg", "a", "1,,5", "1..5", "5,")),
        *([word] for word in ("+-5", "--5", "((5))", "(5", "1,23,4", "1 10", "1'10", "0 123", "11,22,33", "1__100")),
        *([word] for word in ("10:30", "2024-01-15", "1/2", "5-10", "18+", "5'11\"", "4 of 5", "192.168.1.1", "5²")),
        *([word] for word in ("A1", "ID5", "Room 12", "v1.2", "1A2", "#5", "<5", "~5")),
        ["1,5", "1.5"],
        ["1", "inf"],
        ["123,456", "1,23,456"],  # groups of the West and of India
        ["1 100", "1'100"],
        [str(number) for number in range(1000)] + ["many"],
        [f"{number} €" for number in range(1000)] + ["many"],
        [],
    ],
)
def test_no_numbers(words: list[str]) -> None:
    assert formats(*words) == []


@pytest.mark.parametrize(
    ("word", "is_code", "is_told"),
    [
        *((word, True, True) for word in ("007", "01", "-01", "00", "００７", "01.50", "01,5")),
        *((word, True, False) for word in ("05 kg", "€05")),
        *((word, False, False) for word in ("0", "0.5", "0,5", "10", ".05", "-0.5", "€.05", "0e5", "100 001")),
    ],
)
def test_leading_zeros_are_codes(word: str, is_code: bool, is_told: bool) -> None:
    assert (formats(word) == []) is is_code
    assert formats("1", "007") == []
    assert has_leading_zeros(series(["12", word])) is is_told


def test_a_settled_format_passes_over_leading_zeros() -> None:
    assert values(["007", "00,5", "01.234"], decimal=",", grouping=".") == [7.0, 0.5, None]


def test_parse_is_strict() -> None:
    words = ["1.5", "1,5", "1 100", "1.100", "1,10,100", "5 €", "x", "", "inf", "nan", "1e400", None]
    assert values(words) == [1.5, None, None, 1.1, None, *[None] * 7]
    assert values(words, decimal=",") == [None, 1.5, *[None] * 10]
    assert values(words, decimal=",", grouping=".") == [None, 1.5, None, 1100.0, *[None] * 8]
    assert values(words, decimal=",", grouping=" ") == [None, 1.5, 1100.0, *[None] * 9]
    assert values(words, grouping=",") == [1.5, None, None, 1.1, 110100.0, *[None] * 7]
    assert values(words, suffix="€") == [None] * 5 + [5.0] + [None] * 6
    wrong_groups = ["1.10", "1.1000", "10.00.000", ".100.000", "1.000.", "0.123", "1234.567", "1.234e3"]
    assert values(wrong_groups, decimal=",", grouping=".") == [None] * 8


def test_decimal_and_grouping_differ() -> None:
    with pytest.raises(ValidationError, match="decimal and grouping are both ','"):
        NumberFormat(decimal=",", grouping=",")


def test_parse_streams_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.parquet"
    pl.DataFrame({"price": [f"1.{number:03},5 €" for number in range(1000)] * 20}).write_parquet(path)
    total = pl.scan_parquet(path).select(
        NumberFormat(decimal=",", grouping=".", suffix="€").parse(pl.col("price")).sum()
    )
    assert total.collect(engine="streaming").item() == 20 * (1000 * 1000.5 + 999 * 500)


def test_the_values_of_a_written_table(tmp_path: Path) -> None:
    path = tmp_path / "written.csv"
    rows = [
        f"{1 + i % 9} {100 + i};{1 + i % 9}'{100 + i};{i},50 €;{i}kg;1,{i % 9}E+0{i % 4};,{100 + i}" for i in range(120)
    ]
    path.write_text("\n".join(["space;apos;euro;unit;expo;lead", *rows]), encoding="utf-8")
    table = pl.read_csv(path, separator=";", infer_schema=False)
    amounts = {"space": 4103.0, "apos": 4103.0, "euro": 3.5, "unit": 3.0, "expo": 1300.0, "lead": 0.103}
    assert {name: only_reading(*table[name])[3] for name in table.columns} == amounts


AFFIXES = [("", ""), ("€", ""), ("", "€"), ("CHF", ""), ("R$", ""), ("", "%"), ("", "kg"), ("", "m²"), ("$", "/ kg")]
PAIRS: list[tuple[Decimal, Grouping]] = [
    *((".", grouping) for grouping in ("", ",", " ", "'", "_")),
    *((",", grouping) for grouping in ("", ".", " ", "'", "_")),
]


@st.composite
def number_format(draw: st.DrawFn) -> NumberFormat:
    decimal, grouping = draw(st.sampled_from(PAIRS))
    prefix, suffix = draw(st.sampled_from(AFFIXES))
    return NumberFormat(decimal=decimal, grouping=grouping, prefix=prefix, suffix=suffix)


def write(number: float, how: NumberFormat, sign: str, gap: str, space: str) -> str:
    """Write a number in a format: the minus as `sign`, `gap` beside the unit, groups parted by `space`."""
    digits = f"{abs(number):,f}" if abs(number) < 1e15 else f"{abs(number):,.0f}"
    digits = digits.translate(str.maketrans({",": space if how.grouping == " " else how.grouping, ".": how.decimal}))
    before, behind = how.prefix + gap * bool(how.prefix), gap * bool(how.suffix) + how.suffix
    negative = {"(": f"({before}{digits}{behind})", "inner": f"{before}-{digits}{behind}"}
    return negative.get(sign, f"{sign}{before}{digits}{behind}") if number < 0 else f"{before}{digits}{behind}"


@settings(max_examples=200, deadline=None)
@given(
    how=number_format(),
    tenths=st.lists(st.integers(-(10**12), 10**12), max_size=20),
    sign=st.sampled_from(["-", "\u2212", "(", "inner"]),
    gap=st.sampled_from(["", " ", NBSP, NARROW]),
    space=st.sampled_from([" ", NBSP, NARROW, THIN]),
)
def test_what_is_written_is_read(how: NumberFormat, tenths: list[int], sign: str, gap: str, space: str) -> None:
    numbers = [1234567.5, *(tenth / 10 for tenth in tenths)]  # the first shows every sign of the format
    words = [write(number, how, sign, gap, space) for number in numbers]
    assert values(words, **how.model_dump()) == numbers
    assert how in number_formats(series(words))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("0123456789.,' _-+()e€%kg", max_size=8), min_size=1, max_size=3))
def test_formats_read_all_words_and_differ(words: list[str]) -> None:
    read = [values(words, **format_.model_dump()) for format_ in number_formats(series(words))]
    assert all(None not in numbers for numbers in read)
    assert len({tuple(map(str, numbers)) for numbers in read}) == len(read)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_what_python_writes_is_plain_and_exact(numbers: list[float]) -> None:
    words = [repr(number) for number in numbers]
    assert number_formats(series(words))[0] == NumberFormat()
    assert values(words) == numbers


@pytest.mark.parametrize(
    "words",
    [
        ["+49 170 123 456", "+49 30 901 820", "+1 212 555 0100"],
        ["+49 170 123 456", "+49 171 123 456"],  # groups of three, as numbers have
        ["+49 (0) 170 1234567", "+44 20 7946 0958"],
        ["+49 170/1234567", "+49 30 110"],
        ["+491701234567", "+4930901820"],
        ["+1 (212) 555-0100", "+1-212-555-0199", "+49 30 901820"],
    ],
)
def test_telephone_numbers_are_no_numbers(words: list[str]) -> None:
    assert number_formats(series(words)) == ()
    assert are_phone_numbers(series(words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+1 100", "+12 300"], [1100.0, 12300.0]),
        (["+1 100 200", "-3 400 500"], [1100200.0, -3400500.0]),
        (["+12345678", "-12345678"], [12345678.0, -12345678.0]),
        (["+1.2345678", "+2.3456789"], [1.2345678, 2.3456789]),
        (["+5", "+12"], [5.0, 12.0]),
    ],
)
def test_numbers_with_a_sign_are_numbers(words: list[str], expected: list[float]) -> None:
    assert only_reading(*words) == expected
