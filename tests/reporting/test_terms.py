"""The Chinese docs, pages and messages use the words of docs/terms.zh.md, the field's own, one word for one thing."""

import re
from pathlib import Path

import pytest

import danlu
from danlu.reporting.console_words import _table
from danlu.reporting.i18n import load_texts

DOCS = Path(danlu.__file__).parents[2] / "docs"
TABLE = DOCS / "terms.zh.md"
PAGES = sorted(file for file in DOCS.glob("*.zh.md") if file != TABLE)
ROW = re.compile(r"\| ([^|]+) \| ([^|]+) \| ?([^|]*?) ?\|")
TERMS = [found.groups() for line in TABLE.read_text().split("\n") if (found := ROW.fullmatch(line))][1:]
IN_HEADINGS = (
    *("特征缩放", "标准化", "归一化", "过采样", "欠采样", "正则化", "混合精度", "分布式训练"),
    *("超参数优化", "迁移学习与微调", "数据增强"),
)
# Where 回答 is what a person, an assistant or a server says, and no prediction.
SPOKEN = re.compile(
    "对话|提问|问题|提示|助手|成对|指令|偏好|chosen|rejected|chat|DPO|请求|HTTP|客户端|服务|版本|日志|期限|check|回答请求"
    "|接收回答|限制|一对回答|好回答|进程回答|容差|工作进程|人们|要求|评判的回答|消息|回复|列出的某一行"
    "|所选回答|未选回答|两个回答|其中一个回答"
)


def _prose(text: str) -> str:
    """Return a page without its code, which has names of its own."""
    return re.sub(r"`[^`\n]*`|<!--.*?-->", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


PROSE = {file.name: _prose(file.read_text(encoding="utf-8")) for file in PAGES}
MESSAGES = {
    "pages": "\n".join(load_texts("zh").values()),
    "console": "\n".join(text for table in _table("zh").values() for text in table.values()),
}


def test_the_table_is_read() -> None:
    assert len(TERMS) >= 38 and ("token", "词元", "") in TERMS


@pytest.mark.parametrize("term", [chinese for _, chinese, _ in TERMS])
def test_each_term_is_used(term: str) -> None:
    assert any(term in text for text in (*PROSE.values(), *MESSAGES.values()))


@pytest.mark.parametrize("place", [*PROSE, *MESSAGES])
def test_no_other_word_is_used_for_a_term(place: str) -> None:
    text = PROSE.get(place) or MESSAGES[place]
    found = {
        word for _, _, other in TERMS if other for word in other.split("、") if re.search(f"(?<![最较]){word}", text)
    }
    assert found == set()


@pytest.mark.parametrize("place", PROSE)
def test_token_and_epoch_are_said_in_one_chinese_word(place: str) -> None:
    assert re.findall(r"(?<![\w-])(?:tokens?|epochs?)(?![\w-])", PROSE[place]) == []


@pytest.mark.parametrize("place", [*PROSE, *MESSAGES])
def test_a_model_predicts_and_an_assistant_answers(place: str) -> None:
    lines = (PROSE.get(place) or MESSAGES[place]).split("\n")
    assert [line for line in lines if "回答" in line and not SPOKEN.search(line)] == []


def test_the_guides_headings_use_them() -> None:
    guide = (DOCS / "guide.zh.md").read_text(encoding="utf-8")
    headings = "\n".join(line for line in guide.split("\n") if line.startswith("#"))
    assert [term for term in IN_HEADINGS if term not in headings] == []
