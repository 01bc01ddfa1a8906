"""Libraries are silenced while they load: danlu is not, nor is anything afterwards, whichever thread ends last."""

import logging

import pytest

from danlu.core import console
from danlu.core.imports import silence_libraries


def test_libraries_are_silent_within_and_danlu_is_not(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with silence_libraries():
        logging.getLogger("a.library").warning("kernels for other machines")
        console.info("training")
    logging.getLogger("a.library").warning("again")
    assert [record.message for record in caplog.records if record.name == "a.library"] == ["again"]
    assert capsys.readouterr().err == "training\n"


def test_blocks_that_overlap_leave_logging_as_it_was() -> None:
    before = logging.root.manager.disable
    first, second = silence_libraries(), silence_libraries()
    first.__enter__()
    second.__enter__()  # of another thread, say
    first.__exit__(None, None, None)
    assert logging.root.manager.disable == logging.WARNING
    second.__exit__(None, None, None)
    assert logging.root.manager.disable == before
