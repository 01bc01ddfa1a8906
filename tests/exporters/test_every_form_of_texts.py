"""Texts and pictures in every form, as `test_every_form` does tables; apart, so that two processes share the work."""

from pathlib import Path

import pytest

from tests.support.export_cases import OTHERS, Case, forms_of, row_of, rows_of

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_each_form_that_is_written_answers_as_the_bundle(case: Case, tmp_path: Path) -> None:
    assert row_of(case, forms_of(case, tmp_path)) in rows_of(PAGE)
