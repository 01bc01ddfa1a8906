"""Which of several ways a column's words are read in: by the recipe, by the other columns, or by asking."""

import json
from collections.abc import Collection, Iterable

import polars as pl

from danlu.data.questions import Answer, Question
from danlu.data.reading.dates import date_layouts, parse_dates
from danlu.data.reading.infinity import is_infinity
from danlu.data.reading.numbers import NumberFormat, number_formats
from danlu.data.reading.reading import Reading
from danlu.recipe.sections.data import ColumnOptions

Format = NumberFormat | str  # of numbers, or the layout of dates
Formats = tuple[Format, ...]
POINT = "decimal ."  # the style of a file with a decimal point
SHOWN_POINT = r"(?:^|[0-9])\.[0-9]"


def formats_of_numbers(words: pl.Series) -> tuple[NumberFormat, ...]:
    """Return the ways in which words are numbers; infinity may stand among them."""
    finite = words.filter(~words.to_frame("word").select(is_infinity(pl.col("word"))).to_series())
    return number_formats(finite) if len(finite) else ()


def said_formats(words: pl.Series, type_: str, options: ColumnOptions) -> Formats:
    """Return the ways in which words are what the recipe says.

    Where it names formats, only those.

    Args:
        words: distinct ones.
        type_: number or datetime.
        options: what the recipe says of the column.
    """
    if type_ == "datetime":
        return (options.format,) if options.format else date_layouts(words)
    found = formats_of_numbers(words)
    if options.decimal is None and options.grouping is None:
        return found
    if fitting := allowed(found, options):
        return fitting[:1]
    return (NumberFormat(decimal=options.decimal or ".", grouping=options.grouping or ""),)


def allowed(formats: Formats, options: ColumnOptions) -> Formats:
    """Return the formats that the recipe allows.

    All of them where it says nothing, or none of these.
    """
    return tuple(form for form in formats if _fits(form, options)) or formats


def _fits(form: Format, options: ColumnOptions) -> bool:
    if isinstance(form, str):
        return options.format in (None, form)
    if options.grouping and form.decimal == options.grouping:
        return False
    return options.decimal in (None, form.decimal) and (not form.grouping or options.grouping in (None, form.grouping))


def settle_by_others(formats: Formats, shown: Collection[str]) -> Formats:
    """Settle a column that could be read in several ways by other columns.

    The one way in which others of the file are written decides.

    Args:
        formats: of the column.
        shown: the styles of the others, see `styles_shown`.
    """
    fitting = tuple(form for form in formats if _style(form) in shown)
    return fitting if len(formats) > 1 and len(fitting) == 1 else formats


def plain_if_unsettled(formats: Formats) -> Formats:
    """Return the plain format alone where it is one of several.

    Words such as `1.234` are what every program reads, unless their own file tells otherwise.
    """
    return formats[:1] if formats[:1] == (NumberFormat(),) else formats


def settled(formats: Formats, shown: Collection[str]) -> Formats:
    """Return the ways in which a column is read, by the styles of its file.

    Where several stay, a question is asked.

    Args:
        formats: in which its words can be read.
        shown: the styles of its file, see `styles_shown`.
    """
    return plain_if_unsettled(settle_by_others(formats, shown))


def styles_shown(columns: Iterable[tuple[Formats, pl.Series]]) -> set[str]:
    """Return the styles of writing that columns, and so their file, surely have.

    A style is the decimal sign, or whether the day or the month is first.

    Args:
        columns: the formats in which each can be read, and its words.
    """
    return {style for formats, words in columns if (style := _style_shown(formats, words))}


def _style_shown(formats: Formats, words: pl.Series) -> str | None:
    """Return the style that a column surely has; None where its words do not tell."""
    if len(formats) != 1:
        return None
    (form,) = formats
    if isinstance(form, NumberFormat) and form.decimal == "." and form.grouping != ",":
        return POINT if words.str.contains(SHOWN_POINT).any() else None
    return _style(form)


def _style(form: Format) -> str | None:
    """Return the style that a file has in which a column is written so."""
    if isinstance(form, NumberFormat):
        return f"decimal {form.decimal}"
    day, month = form.find("%d"), form.find("%m")
    if min(day, month) < 0 or form.startswith(("%Y", "%y")):
        return None
    return "day first" if day < month else "month first"


def reading_of(formats: Formats) -> Reading:
    """Return the reading of a column by the first of its formats."""
    if not formats:
        return Reading()
    form = formats[0]
    if isinstance(form, str):
        return Reading(format=form)
    return Reading(number=None if form == NumberFormat() else form)


def ask(name: str, formats: Formats, words: pl.Series) -> Question:
    """Ask in which of several ways a column's words are read."""
    word = telling_word(words, formats)
    what = "dates" if isinstance(formats[0], str) else "numbers"
    answers = tuple(Answer(_write(name, form), _shown(form, word)) for form in formats)
    return Question("DL214", name, f"its {what}, such as {word!r}, can be read in {len(formats)} ways.", answers)


def telling_word(words: pl.Series, formats: Formats) -> str:
    """Return a word that the formats read differently.

    Of one format, a word that is not a plain number.
    """
    values = [words.to_frame("word").select(_parse(form, pl.col("word"))).to_series() for form in formats[:2]]
    if len(values) == 2:
        telling = words.filter(values[0] != values[1])
    else:
        telling = words.filter(words.str.strip_chars().cast(pl.Float64, strict=False).is_null())
    return str((telling if len(telling) else words)[0])


def _parse(form: Format, words: pl.Expr) -> pl.Expr:
    return parse_dates(words, form) if isinstance(form, str) else form.parse(words)


def _shown(form: Format, word: str) -> str:
    value = pl.Series("word", [word]).to_frame().select(_parse(form, pl.col("word"))).item()
    return str(value.date()) if isinstance(form, str) else f"{value:.15g}"


def _write(name: str, form: Format) -> str:
    """Return what settles the question, as `--set` takes it."""
    if isinstance(form, str):
        said = f'{{type: datetime, format: "{form}"}}'
    else:
        said = f'{{type: number, decimal: "{form.decimal}", grouping: "{form.grouping}"}}'
    if "." in name or "=" in name:  # which mean something in the path of a key
        return f"data.columns={{{json.dumps(name, ensure_ascii=False)}: {said}}}"
    return f"data.columns.{name}={said}"
