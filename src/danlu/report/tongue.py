"""A language that a page is written in. In: keys of the table of words and values. Out: what is said.

Numbers are written alike in every language. `A|B` in English is one of something and several of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from danlu.core.errors import ArgumentError
from danlu.report.wording import WORDS

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Tongue:
    """Says things in one language."""

    language: Language

    def __call__(self, key: str, **values: Any) -> str:
        """What stands in the table under a key, with values in their places."""
        said = WORDS[key][LANGUAGES.index(self.language)]
        return said.format(**values) if values else said

    def has(self, key: str) -> bool:
        return key in WORDS

    def book(self, without: str, begin: str = "") -> dict[str, str]:
        """Everything under keys that begin so, in this language.

        Args:
            without: the part of their beginning that the keys are given without.
            begin: the rest of it.
        """
        place = LANGUAGES.index(self.language)
        found = {key: said[place] for key, said in WORDS.items() if key.startswith(without + begin)}
        return {key.removeprefix(without): said for key, said in found.items()}

    def counted(self, count: int, noun: str) -> str:
        """A count with its noun: `1 row`, `1,797 images`."""
        one, _, several = self(f"noun.{noun}").partition("|")
        return f"{count:,} {one if count == 1 or not several else several}"

    def joined(self, parts: Iterable[str]) -> str:
        """Things one after the other."""
        return self("between").join(parts)

    def told(self, sentences: Iterable[str]) -> str:
        """Sentences one after the other."""
        return self("after a sentence").join(sentences)

    def split(self, name: str) -> str:
        """A split's name; as it is where it is none of ours."""
        return self(f"split.{name}") if self.has(f"split.{name}") else name


def tongue_of(language: str) -> Tongue:
    """The language of a name.

    Raises:
        ArgumentError: nothing is written in it.
    """
    for known in LANGUAGES:
        if language == known:
            return Tongue(known)
    raise ArgumentError(f"--lang {language}: pages are written in {' and '.join(LANGUAGES)}")


ENGLISH = Tongue("en")
