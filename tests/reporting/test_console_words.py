"""What the command line shows in Chinese: by --lang, DANLU_LANG or the locale; never in JSON, codes and logs."""

import ast
import json
import logging
import re
import shutil
from pathlib import Path

import pytest

import danlu
from danlu.cli.main import _run
from danlu.core.language import LOCALE_VARIABLES, console_language
from danlu.core.text import placeholders
from danlu.reporting.console_words import _table, translate

ROOT = Path(danlu.__file__).parent
TABLE = _table("zh")
OF_CYCLOPTS = {"Commands", "Parameters", "Arguments", "Options"} | {
    "Display this message and exit.",
    "Display application version.",
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOCALE_VARIABLES:
        monkeypatch.setenv(name, "en" if name == "DANLU_LANG" else "C.UTF-8")


def _written() -> str:
    """All text that danlu's code writes, with `{}` for what is filled in."""
    found = []
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_every_english_text_of_the_table_is_one_that_the_code_writes() -> None:
    written = _written()
    assert [word for word in TABLE["words"] if word not in written and word not in OF_CYCLOPTS] == []
    for line in TABLE["lines"]:
        longest = max(re.split(r"\{\w+\}|[(),;]", line), key=len)
        words = longest.split()
        assert any(" ".join(words[at : at + 3]) in written for at in range(len(words))), line


def test_a_translation_keeps_what_is_filled_in() -> None:
    for english, chinese in TABLE["lines"].items():
        assert placeholders(english) == placeholders(chinese), english
        assert CHINESE.search(chinese) and not CHINESE.search(english)
    assert [word for word, chinese in TABLE["words"].items() if not CHINESE.search(chinese)] == []


def test_a_line_is_translated_and_its_code_place_and_figures_are_kept() -> None:
    assert translate("r.yaml:8: training.epochs: must be greater than 0, got 0 [DL108]", "zh") == (
        "r.yaml:8: training.epochs: 必须大于 0，而给出的是 0 [DL108]"
    )
    assert translate("\nreport  runs/a/report.html\nmodel   runs/a/model", "zh") == (
        "\n报告    runs/a/report.html\n模型    runs/a/model"
    )
    assert translate("trained 39 steps, as planned; kept the weights of step 39 (validation loss 0.1655)", "zh") == (
        "训练了 39 步，按计划结束；保留第 39 步的权重（验证集 loss 0.1655）"
    )
    assert translate("what nobody has translated", "zh") == "what nobody has translated"
    assert translate("the recipe is right", "en") == "the recipe is right"


@pytest.mark.parametrize(
    ("set_to", "spoken"),
    [({}, "en"), ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_CN.UTF-8", "DANLU_LANG": "en"}, "en")],
)
def test_the_locale_decides_and_danlu_lang_before_it(
    set_to: dict[str, str], spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LOCALE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    assert console_language() == spoken


def test_check_new_help_and_errors_speak_chinese_and_json_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", "wine", "--lang", "zh"]) == 0
    said = capsys.readouterr().out
    assert "目标有 3 个不同的词" in said and "缺失" in said and "配方正确；审查没有发现问题" in said
    assert _run(["--lang", "zh", "check", "wine", "--json"]) == 0
    assert not CHINESE.search(capsys.readouterr().out)
    assert _run(["new", "builtin:wine", "--lang", "zh"]) == 0
    written = capsys.readouterr().out
    assert "# 目标有 3 个不同的词" in written and "# 178 行 表格 数据" in written
    assert "target: cultivar" in written
    assert _run(["report", "--help", "--lang", "zh"]) == 0
    shown = capsys.readouterr().out
    assert "在 stdout 上只打印 JSON" in shown and "根据运行的文件重新绘制报告" in shown


def test_the_log_of_a_program_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.core.console import info

    kept: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())

    monkeypatch.setenv("DANLU_LANG", "zh")
    handler = Keep()
    logging.getLogger("danlu").addHandler(handler)
    try:
        info("dry run: every stage works; nothing was kept")
    finally:
        logging.getLogger("danlu").removeHandler(handler)
    assert kept == ["dry run: every stage works; nothing was kept"]


def test_an_unknown_language_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["check", "wine", "--lang", "fr", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "DL402"


def test_a_report_is_drawn_again_in_another_language_without_a_look(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(table_run, tmp_path / "copy" / table_run.name)
    before = {file: file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()}
    pages = {}
    for language in ("zh", "en"):
        file = tmp_path / f"{language}.html"
        assert _run(["report", str(run), "--lang", language, "-o", str(file), "--json"]) == 0
        pages[language] = json.loads(capsys.readouterr().out)
        assert set(pages[language]) == {"format", "run", "path", "lang", "sections", "looks"}
    looks = json.loads((run / "evaluation.json").read_text())["looks"]["test"]
    assert pages["zh"]["looks"] == pages["en"]["looks"] == looks
    assert [each["id"] for each in pages["zh"]["sections"]] == [each["id"] for each in pages["en"]["sections"]]
    assert {"id": "summary", "title": "概要"} in pages["zh"]["sections"]
    assert {file: file.read_bytes() for file in sorted(run.rglob("*")) if file.is_file()} == before
    assert (tmp_path / "en.html").read_bytes() == before[run / "report.html"]
    assert _run(["report", str(run), "-o", str(tmp_path / "en.html")]) == 2  # exists already
