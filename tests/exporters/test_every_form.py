"""Every family and task of tables in every form: run, exported, answered by its own engine, as docs/export.md says."""

from pathlib import Path

import pytest

from tests.support.export_cases import CASES, COLUMNS, NO, SMALL, TABLES, YES, Case, forms_of, row_of, rows_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["export.md", "export.zh.md"])
def test_the_pages_list_every_family_and_task_and_nothing_else(page: str) -> None:
    beginnings = [row.split(" | ")[:3] for row in rows_of(DOCS / page)]
    assert beginnings == [row_of(case, dict.fromkeys(COLUMNS, YES)).split(" | ")[:3] for case in CASES]


def test_both_pages_hold_one_table() -> None:
    """So that one of them is compared with what is seen."""
    assert rows_of(DOCS / "export.md") == rows_of(DOCS / "export.zh.md")
    assert {cell for row in rows_of(DOCS / "export.md") for cell in row.strip("| ").split(" | ")[3:]} == {YES, NO}


def test_every_family_of_tables_is_among_the_cases() -> None:
    from danlu.models.table import MODELS
    from danlu.models.tabular.options import TabularModel

    assert {name for name, model in MODELS.items() if issubclass(model, TabularModel)} == set(SMALL)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_each_form_that_is_written_answers_as_the_bundle(case: Case, tmp_path: Path) -> None:
    assert row_of(case, forms_of(case, tmp_path)) in rows_of(DOCS / "export.md")
