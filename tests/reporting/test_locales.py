"""The texts of the pages: one file per language, with the same keys and places, and no word beside them."""

import ast
import re
import string
from pathlib import Path

import pytest

import danlu.data.audit as audit
import danlu.experiment.read_texts as read_texts
import danlu.reporting as package
from danlu.core.text import match_message
from danlu.data.audit.messages import FINDINGS
from danlu.data.messages import REASONS, reason
from danlu.errors import ArgumentError
from danlu.reporting.i18n import LANGUAGES, Translator, get_translator, load_texts
from danlu.reporting.sections.findings import translate_alarms, translate_findings
from danlu.reporting.sections.findings import translate_reason as said_again
from danlu.tasks.metric_table import METRICS
from danlu.tasks.table import all_tasks
from danlu.training.monitoring.messages import ALARM_MESSAGES

FOLDER = Path(package.__file__).parent
TEXTS = {language: load_texts(language) for language in LANGUAGES}
ENGLISH = TEXTS["en"]
BASELINES = (
    *("majority", "mean", "unigram", "bigram", "frequency", "word"),
    *("logistic-regression", "ridge", "poisson", "gradient-boosting"),
)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ALIKE = {
    "f1",
    "auroc",
    "between",
    "between clauses",
    "after a sentence",
    "in brackets",
    "full stop",
    "finding.between",
}


def places(said: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(said) if name}


@pytest.mark.parametrize("key", ENGLISH)
def test_every_key_is_said_in_both_languages(key: str) -> None:
    english, chinese = ENGLISH[key], TEXTS["zh"][key]
    assert english and (chinese or key == "after a sentence")
    assert not CHINESE.search(english)
    assert CHINESE.search(chinese) or key in ALIKE or not re.search(r"[a-z]", re.sub(r"\{.*?\}", "", english))
    assert places(english) == places(chinese)


def test_the_chinese_file_has_the_english_keys_and_what_danlu_says_in_english_elsewhere() -> None:
    """Metrics, baselines, findings, alarms and reasons have their English where they are made."""
    metrics = {f"metric.{name}": metric.description for name, metric in METRICS.items()}
    books = {"finding": FINDINGS, "alarm": ALARM_MESSAGES, "reason": REASONS}
    elsewhere = {f"{kind}.{key}": text for kind, book in books.items() for key, text in book.items()}
    baselines = {f"baseline.{name}" for name in BASELINES}
    assert set(TEXTS["zh"]) == set(ENGLISH) | set(metrics) | set(elsewhere) | baselines
    assert [key for key in metrics if not CHINESE.search(TEXTS["zh"][key])] == []
    for key, english in elsewhere.items():
        form = re.compile(r"\{\w+" if key.startswith("reason.") else r"\{.*?\}")  # reasons have their figures as text
        assert sorted(form.findall(english)) == sorted(form.findall(TEXTS["zh"][key])), key


def test_no_text_is_unused() -> None:
    """A key is written out, or begins with a prefix that is completed from a run's values."""
    written, begun = set[str](), set[str]()
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.add(node.value)
            if isinstance(node, ast.JoinedStr):
                begun.add("".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values))
    for file in (FOLDER / "templates").glob("*.j2"):
        text = re.sub(r"<[^>{}]*>", "", file.read_text(encoding="utf-8"))
        for code in re.findall(r"\{[{%](.*?)[}%]\}", text, re.DOTALL):
            written |= set(re.findall(r'"([^"]+)"', code))
            begun |= {f"{prefix}{{}}" for prefix in re.findall(r'"([^"]+\.)" ~', code)}
    for task in all_tasks():
        written |= {f"task.{task.name}", task.noun}
    prefixes = {start for start in (text.partition("{")[0] for text in begun) if start.endswith(".")}
    either = {"sign", "grown"}  # f"{either}.{diagnosis}"
    unused = {
        key
        for key in ENGLISH
        if not (
            key in written
            or key.removeprefix("noun.") in written
            or key.partition(".")[0] in either
            or any(key.startswith(prefix) for prefix in prefixes)
        )
    }
    assert unused == set()


def test_every_finding_that_a_check_makes_has_a_sentence_and_a_subject() -> None:
    sources = [*Path(audit.__file__).parent.glob("*.py"), Path(read_texts.__file__)]
    made = {key for file in sources for key in re.findall(r'(?:make_finding|_note)\(\s*"([a-z-]+)"', file.read_text())}
    assert len(made) > 15 and made <= set(FINDINGS)
    assert {key for key in FINDINGS if key.endswith((".subject", ".cure"))} <= {
        f"{key}.{part}" for key in {*made, "near-images", "near-texts"} for part in ("subject", "cure")
    }


def test_a_finding_is_said_in_the_pages_language_and_an_old_one_as_it_was_written() -> None:
    told = {
        "key": "drifting-columns",
        "severity": "warning",
        "subject": "drift",
        "message": "4 columns are distributed otherwise",
        "cure": "look at how the rows were collected",
        "figures": {
            "count": 4,
            "columns": [{"column": f"x{i}", "split": "test", "distance": 0.5 - i / 10} for i in range(4)],
        },
    }
    old = {name: value for name, value in told.items() if name != "key"}
    newer = {**told, "figures": {"count": 4}}
    found = translate_findings(Translator("zh"), {"findings": [told, old, newer]})
    assert found[0]["message"].startswith(
        "有 4 列的分布与训练集不同：x0（测试，0.50）、x1（测试，0.40）、x2（测试，0.30）等（还有 1 个）"
    )
    assert found[0]["subject"] == "分布漂移" and "data.split.by" in found[0]["cure"] and found[0]["language"] == "zh"
    for each in found[1:]:
        assert each["message"] == told["message"] and each["language"] == "en"
    line = {"step": 3, "kind": "dead units in 1", "message": "…", "key": "dead-units"}
    figures = {"share": 0.5, "units": 1200, "layer": "1", "validations": 2}
    (alarm,) = translate_alarms(Translator("zh"), [{**line, "figures": figures}])
    assert alarm["kind"] == "1 中死去的单元" and alarm["message"].startswith("1 的 1,200 个单元中有 50%")


@pytest.mark.parametrize("key", REASONS)
def test_every_reason_is_known_again_by_its_words(key: str) -> None:
    figures = {
        name: 0.25 if spec else f"a {name}" for _, name, spec, _ in string.Formatter().parse(REASONS[key]) if name
    }
    kept = reason(key, **figures)
    assert match_message(REASONS, kept) is not None and match_message(REASONS, kept)[0] == key  # type: ignore[index]
    said = said_again(Translator("zh"), kept)
    assert CHINESE.search(said) and "{" not in said
    assert said_again(Translator("en"), kept) == kept
    assert said_again(Translator("zh"), "for a reason of another package") == "for a reason of another package"


def test_no_file_asks_for_words_that_are_not_there() -> None:
    asked = re.compile(r"""\bt(?:ongue)?\(\s*"([^"{]+)"[,)]""")
    sources = [*FOLDER.rglob("*.py"), *(FOLDER / "templates").glob("*.j2")]
    keys = {key for file in sources for key in asked.findall(file.read_text(encoding="utf-8"))}
    assert len(keys) > 100
    assert keys - set(ENGLISH) == set()


def test_templates_hold_no_words_of_their_own() -> None:
    for file in (FOLDER / "templates").glob("*.j2"):
        text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"[A-Za-z]{2,}", re.sub(r"<[^>]*>", " ", text)), file.name


def test_counts_take_the_form_that_their_language_has() -> None:
    assert [Translator("en").count(count, "class") for count in (1, 2)] == ["1 class", "2 classes"]
    assert [Translator("zh").count(count, "image") for count in (1, 1797)] == ["1 张图像", "1,797 张图像"]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ArgumentError, match="fr: pages are written in en and zh"):
        get_translator("fr")
