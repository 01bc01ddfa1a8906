"""What the command line shows, in the user's language, translated where it is shown.

In: text as the code writes it, in English. Out: the same in the language, by the table locales/console.LANGUAGE.toml;
what the table does not have stays in English. Documents for programs (`--json`), codes and logs never pass here.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from danlu.core.language import LANGUAGES, Language, console_language
from danlu.core.text import match_message
from danlu.data.messages import REASONS
from danlu.reporting.i18n import Translator

CODE = re.compile(r"(.*?)( \[DL\d{3}\])?", re.DOTALL)  # a message, and its code
COMMENT = re.compile(r"(^|.*?\s)# (?!  )(.+)")  # a line of a recipe and its comment, but not a list under one
# Reasons that are one common word, or a template that fits too much.
GREEDY = frozenset({"left-out.outlier", "seconds", "words-alone", "messages", "numbers", "corpus"})


@cache
def _table(language: Language) -> Mapping[str, Mapping[str, str]]:
    """Return a language's `words` and `lines`; empty for English, in which the code writes."""
    file = files("danlu.reporting").joinpath("locales", f"console.{language}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"words": {}, "lines": {}}


def translate(text: str, language: Language | None = None) -> str:
    """Translate each line of a text that the table has.

    Args:
        text: as the code writes it; a line may end in an error's code.
        language: None for the console's.
    """
    language = language or console_language()
    if language == LANGUAGES[0]:
        return text
    whole = _table(language)["words"].get(text)
    return whole if whole is not None else "\n".join(_line(line, language) for line in text.split("\n"))


def translate_comments(recipe: str, language: Language) -> str:
    """Translate the comments of a recipe's text, and leave its keys and values."""
    return "\n".join(
        f"{found[1]}# {translate(found[2], language)}" if (found := COMMENT.fullmatch(line)) else line
        for line in recipe.split("\n")
    )


def _line(line: str, language: Language) -> str:
    bare = line.strip(" ")
    told, code = CODE.fullmatch(bare).groups()  # type: ignore[union-attr]  # it matches every text
    if not told:
        return line
    indent = line[: len(line) - len(line.lstrip(" "))]
    return f"{indent}{_message(told, language)}{code or ''}"


def _message(told: str, language: Language) -> str:
    """Translate a message, or else the words before its first colon and what follows it."""
    table = _table(language)
    if told in table["words"]:
        return table["words"][told]
    if (reason := match_message(REASONS, told)) is not None and reason[0] not in GREEDY:
        return Translator(language)(f"reason.{reason[0]}", **reason[1])
    if (found := match_message({line: line for line in table["lines"]}, told)) is not None:
        values = {name: table["words"].get(value, value) for name, value in found[1].items()}
        return table["lines"][found[0]].format(**values)
    head, colon, rest = told.partition(": ")
    if not colon:
        return told
    return f"{table['words'].get(head, head)}: {_message(rest, language)}"
