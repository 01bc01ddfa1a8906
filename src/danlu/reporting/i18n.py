"""Translation of page texts. In: keys of the locale tables and values. Out: text in one language.

Numbers are formatted alike in every language. `A|B` in English holds singular and plural.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from danlu.errors import ArgumentError
from danlu.reporting.locales import WORDS

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Translator:
    """Translate keys into one language."""

    language: Language

    def __call__(self, key: str, **values: Any) -> str:
        """Return the text of a key, with values filled in."""
        said = WORDS[key][LANGUAGES.index(self.language)]
        return said.format(**values) if values else said

    def has(self, key: str) -> bool:
        return key in WORDS

    def entries(self, without: str, begin: str = "") -> dict[str, str]:
        """Return all texts whose key starts with `without + begin`, in this language.

        Args:
            without: the part of the prefix that is removed from the keys.
            begin: the rest of the prefix.
        """
        place = LANGUAGES.index(self.language)
        found = {key: said[place] for key, said in WORDS.items() if key.startswith(without + begin)}
        return {key.removeprefix(without): said for key, said in found.items()}

    def counted(self, count: int, noun: str) -> str:
        """Format a count with its noun: `1 row`, `1,797 images`."""
        one, _, several = self(f"noun.{noun}").partition("|")
        return f"{count:,} {one if count == 1 or not several else several}"

    def joined(self, parts: Iterable[str]) -> str:
        """Join items with the language's separator."""
        return self("between").join(parts)

    def told(self, sentences: Iterable[str]) -> str:
        """Join sentences."""
        return self("after a sentence").join(sentences)

    def split(self, name: str) -> str:
        """Return a split's name; unknown names stay as they are."""
        return self(f"split.{name}") if self.has(f"split.{name}") else name


def get_translator(language: str) -> Translator:
    """Return the translator of a language.

    Raises:
        ArgumentError: the language is not supported.
    """
    for known in LANGUAGES:
        if language == known:
            return Translator(known)
    raise ArgumentError(f"--lang {language}: pages are written in {' and '.join(LANGUAGES)}")


ENGLISH = Translator("en")
