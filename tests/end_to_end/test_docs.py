"""The documentation is true: its recipes validate, its commands and programs run, its links lead somewhere.

Marks before a block of the guide: `<!-- file: NAME -->` writes it to the folder that the examples run in,
`<!-- fails: CODE -->` expects that exit code, `<!-- slow -->` leaves a command to `make verify`,
and `<!-- slow: OPTIONS -->` does so too and gives its `danlu run` these options, which train for less time. A line of
output shown below a command must be in its output; `…` stands for anything.
"""

import importlib
import logging
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecipeError
from danlu.recipe.load import load_recipe
from tests.support.warm import command, program

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide.md"
PICTURES = ROOT / "docs" / "visualize.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"((?:^<!--[^\n]*-->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, the language it is in, and the marks before it."""

    marks: tuple[str, ...]
    language: str
    text: str

    def marked(self, name: str) -> str | None:
        """What follows a mark's name: `2` of `fails: 2`, nothing of `slow`; None where it is not marked so."""
        found = (mark.removeprefix(name).lstrip(": ") for mark in self.marks if mark.startswith(name))
        return next(found, None)


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(tuple(re.findall(r"<!-- (.*?) -->", marks)), language, text) for marks, language, text in found]


def without_code(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def recipes() -> list[Any]:
    """Every block of YAML that is a whole recipe."""
    return [
        pytest.param(block, id=f"{page.name}-{index}")
        for page in PAGES
        for index, block in enumerate(blocks(page))
        if block.language == "yaml" and re.search(r"^(data|extends):", block.text, re.MULTILINE)
    ]


def write_files(folder: Path, page: Path = GUIDE) -> None:
    for block in blocks(page):
        name = block.marked("file")
        if name is not None:
            (folder / name).write_text(block.text, encoding="utf-8")


def run_shown(block: Block, folder: Path) -> None:
    """Run the commands of a block and look for the output that is shown below each."""
    for shown in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, *lines = shown.splitlines()
        program, *words = shlex.split(line)
        assert program == "danlu", line
        words, file = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, None)
        words += shlex.split(block.marked("slow") or "") if words[0] == "run" else []
        done = command(*words, cwd=folder)
        if file is not None:
            (folder / file).write_text(done.stdout, encoding="utf-8")
        output = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == int(block.marked("fails") or 0), f"{line}\n{done.stdout}{done.stderr}"
        for wanted in filter(str.strip, lines):
            pattern = ".*".join(re.escape(" ".join(part.split())) for part in wanted.split("…"))
            assert re.search(pattern, output), f"{line}\nnot printed: {wanted}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("block", recipes())
def test_every_recipe_is_valid_or_refused_as_said(block: Block, tmp_path: Path) -> None:
    write_files(tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(block.text, encoding="utf-8")
    if block.text.startswith("# wrong.yaml"):  # the guide shows its errors
        with pytest.raises(RecipeError, match="unknown key"):
            load_recipe(file)
    else:
        load_recipe(file)


@pytest.fixture
def _messages_as_before() -> Iterator[None]:
    """The guide silences the logger, which all tests of a process share."""
    logger = logging.getLogger("danlu")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.slow
@pytest.mark.usefixtures("_messages_as_before")
def test_the_guide_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(GUIDE):
        if block.language == "python":
            exec(compile(block.text, str(GUIDE), "exec"), names)
        elif block.language == "console" and block.marked("slow") is None:
            run_shown(block, tmp_path)


@pytest.mark.slow
def test_the_page_of_pictures_runs_from_top_to_bottom(tmp_path: Path) -> None:
    write_files(tmp_path, PICTURES)
    for block in blocks(PICTURES):
        if block.language == "console":
            run_shown(block, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.text.split()[-1]) for block in blocks(GUIDE) if block.marked("slow") is not None],
)
def test_what_takes_longer_runs_too(block: Block, tmp_path: Path) -> None:
    write_files(tmp_path)
    run_shown(block, tmp_path)


def test_the_modules_and_names_of_the_architecture_exist() -> None:
    layers = {path.stem for path in (ROOT / "src" / "danlu").iterdir()}
    named = set(re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", (ROOT / "docs" / "architecture.md").read_text()))
    named = {
        name
        for name in named
        if name.split(".")[0] in layers and not name.endswith((".json", ".jsonl", ".yaml", ".source"))
    }
    assert len(named) > 40
    assert [name for name in sorted(named) if not _exists(f"danlu.{name}")] == []


def _exists(name: str) -> bool:
    """Whether a dotted name is a module, or is had from one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_the_reference_is_up_to_date() -> None:
    script = ROOT / "scripts" / "make_reference.py"
    code = f"import runpy, sys; sys.argv.append('--check'); runpy.run_path({str(script)!r}, run_name='__main__')"
    done = program(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page",
    [
        GUIDE,
        *(
            ROOT / "docs" / name
            for name in ("parallel.md", "not-covered.md", "errors.md", "explain.md", "visualize.md", "compress.md")
        ),
    ],
    ids=lambda page: page.name,
)
def test_both_languages_have_the_same_chapters_and_examples(page: Path) -> None:
    chinese = page.with_suffix(".zh.md")
    levels = [re.findall(r"^(#+) ", without_code(language), re.MULTILINE) for language in (page, chinese)]
    assert levels[0] == levels[1]
    assert blocks(page) == blocks(chinese)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = without_code(page)
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href|srcset)="([^"]+)"', text)]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, without punctuation, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
