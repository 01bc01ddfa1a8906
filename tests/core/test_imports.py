"""Libraries are loaded in silence, and send nothing."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.core import console, imports
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


def test_onnx_runtime_is_imported_with_its_telemetry_off(tmp_path: Path) -> None:
    # It would keep a device id and events there, and send them.
    program = "from danlu.core.imports import load_onnxruntime; print(load_onnxruntime().__name__)"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    changed = environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=changed, check=True)
    assert done.stdout == "onnxruntime\n"
    assert list(tmp_path.rglob("*")) == []


def test_nothing_of_danlu_imports_onnx_runtime_otherwise() -> None:
    folder = Path(imports.__file__).parents[1]
    others = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if "import onnxruntime" in path.read_text(encoding="utf-8")
    ]
    assert sorted(others) == ["core/imports.py", "deployment/edge_files/run.py"]
    quantizer = (folder / "compression" / "quantizer.py").read_text(encoding="utf-8")
    assert quantizer.count("    load_onnxruntime()\n") == 3
