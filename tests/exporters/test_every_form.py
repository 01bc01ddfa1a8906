"""Every family and task in every form: run, exported, answered by the form's own engine, as docs/export.md says."""

from pathlib import Path

import pytest

from tests.support.export_cases import CASES, Case, forms_of

DOCS = Path(__file__).parents[2] / "docs"
COLUMNS = ("onnx", "openvino", "torch-export", "onnx --into", "openvino --into")


def documented(name: str) -> dict[tuple[str, ...], list[str]]:
    """The rows of a page's table: data, family and task -> a cell a form."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {tuple(row[:3]): row[3:] for row in rows if len(row) == 3 + len(COLUMNS)}


@pytest.mark.parametrize("page", ["export.md", "export.zh.md"])
def test_the_pages_list_every_family_and_task(page: str) -> None:
    listed = documented(page)
    assert {(case.kind, f"`{case.family}`", case.task) for case in CASES} <= listed.keys()


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_form_that_is_written_answers_as_the_bundle(case: Case, tmp_path: Path) -> None:
    found = forms_of(case, tmp_path)
    assert [found[name] for name in COLUMNS] == documented("export.md")[(case.kind, f"`{case.family}`", case.task)]
