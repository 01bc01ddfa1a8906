"""Translation of page texts. In: a key and values. Out: text in one language.

The texts stand in locales/LANGUAGE.toml, one file per language. Numbers are formatted alike in every language. `A|B` in
English holds singular and plural. A translation also holds what danlu writes in English elsewhere: descriptions of
metrics, findings, alarms, reasons.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from danlu.core.language import LANGUAGE_VARIABLE, LANGUAGES
from danlu.core.language import Language as Language
from danlu.errors import ArgumentError
from danlu.tasks.table import all_tasks


@cache
def load_texts(language: Language) -> Mapping[str, str]:
    """Read the texts of a language, key -> text, with those that tasks bring."""
    file = files("danlu.reporting").joinpath("locales", f"{language}.toml")
    texts: dict[str, str] = tomllib.loads(file.read_text(encoding="utf-8"))
    for task in all_tasks():
        for key, text in task.words[language].items():
            texts[f"task.{task.name}" if key == "name" else key] = text
    return texts


@dataclass(frozen=True)
class Translator:
    """Translate keys into one language."""

    language: Language

    def __call__(self, key: str, **values: Any) -> str:
        """Return the text of a key, with values filled in."""
        text = load_texts(self.language)[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        return key in load_texts(self.language)

    def entries(self, prefix: str) -> dict[str, str]:
        """Return all texts whose key starts with a prefix, by the rest of the key."""
        texts = load_texts(self.language)
        return {key.removeprefix(prefix): text for key, text in texts.items() if key.startswith(prefix)}

    def count(self, number: int, noun: str) -> str:
        """Format a count with its noun: `1 row`, `1,797 images`."""
        one, _, several = self(f"noun.{noun}").partition("|")
        return f"{number:,} {one if number == 1 or not several else several}"

    def join(self, parts: Iterable[str]) -> str:
        """Join items with the language's separator."""
        return self("between").join(parts)

    def join_sentences(self, sentences: Iterable[str]) -> str:
        """Join sentences."""
        return self("after a sentence").join(sentences)

    def split(self, name: str) -> str:
        """Return a split's name; unknown names stay as they are."""
        return self(f"split.{name}") if self.has(f"split.{name}") else name


def environment_translator() -> Translator:
    """Return the translator of the language that DANLU_LANG names (`zh`, `zh_CN.UTF-8`); else English."""
    asked = os.environ.get(LANGUAGE_VARIABLE, "").lower()
    return next((Translator(known) for known in LANGUAGES if asked.startswith(known)), Translator(LANGUAGES[0]))


def get_translator(language: str) -> Translator:
    """Return the translator of a language.

    Raises:
        ArgumentError: the language is not supported.
    """
    for known in LANGUAGES:
        if language == known:
            return Translator(known)
    raise ArgumentError(f"--lang {language}: pages are written in {' and '.join(LANGUAGES)}", code="DL402")
