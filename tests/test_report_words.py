"""The words of the pages: one table, every one of them in both languages, and no word beside it."""

import re
import string
from pathlib import Path

import pytest

import danlu.report as package
from danlu.core.errors import ArgumentError
from danlu.evaluation.metrics import METRICS
from danlu.report.tongue import Tongue, tongue_of
from danlu.report.wording import WORDS

FOLDER = Path(package.__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ALIKE = {"f1", "auroc", "between", "between clauses", "after a sentence", "in brackets", "full stop", "quoted"}


def places(said: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(said) if name}


@pytest.mark.parametrize("key", WORDS)
def test_every_key_is_said_in_both_languages(key: str) -> None:
    english, chinese = WORDS[key]
    assert english and (chinese or key == "after a sentence")
    assert not CHINESE.search(english)
    assert CHINESE.search(chinese) or key in ALIKE or not re.search(r"[a-z]", re.sub(r"\{.*?\}", "", english))
    assert places(english) == places(chinese)


def test_every_metric_is_explained_in_chinese() -> None:
    untold = [name for name in METRICS if not CHINESE.search(WORDS[f"metric.{name}"][1])]
    assert untold == []


def test_no_file_asks_for_words_that_are_not_there() -> None:
    asked = re.compile(r"""\bt(?:ongue)?\(\s*"([^"{]+)"[,)]""")
    sources = [*FOLDER.glob("*.py"), *(FOLDER / "templates").glob("*.j2")]
    keys = {key for file in sources for key in asked.findall(file.read_text(encoding="utf-8"))}
    assert len(keys) > 100
    assert keys - set(WORDS) == set()


def test_templates_hold_no_words_of_their_own() -> None:
    for file in (FOLDER / "templates").glob("*.j2"):
        text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", text)), file.name


def test_counts_take_the_form_that_their_language_has() -> None:
    assert [Tongue("en").counted(count, "class") for count in (1, 2)] == ["1 class", "2 classes"]
    assert [Tongue("zh").counted(count, "image") for count in (1, 1797)] == ["1 张图像", "1,797 张图像"]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ArgumentError, match="fr: pages are written in en and zh"):
        tongue_of("fr")
