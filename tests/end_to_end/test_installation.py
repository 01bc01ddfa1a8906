"""The command itself: help, exit codes, and what it says of an installation that lacks something."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.api.doctor import doctor
from danlu.core import imports as extras
from danlu.errors import MissingExtra
from tests.conftest import Command
from tests.support.warm import LIGHT, program

WITHOUT = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in {hidden} else found(name, package)
from danlu.cli.main import main
sys.argv = ["danlu", *{arguments}]
main()
"""


@pytest.fixture
def danlu(installed_danlu: Command) -> Command:
    """Here in a process of its own, as whoever installed it has it."""
    return installed_danlu


def without(hidden: set[str], *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command as if some packages were not installed."""
    return program(WITHOUT.format(hidden=hidden, arguments=list(arguments)), cwd=cwd, forks=LIGHT)


def test_help_lists_every_verb(danlu: Command) -> None:
    done = danlu("--help")
    assert done.returncode == 0
    code = "import sys; from danlu.cli.main import main; sys.argv = ['danlu', sys.argv[1], '--help']; main()"
    for verb in ("run", "new", "check", "train", "evaluate", "predict", "runs", "schema", "doctor"):
        assert verb in done.stdout
        assert program(code, verb, forks=LIGHT).returncode == 0


def test_an_unknown_verb_or_argument_is_exit_code_2(danlu: Command) -> None:
    assert danlu("trian").returncode == 2
    assert danlu("run").returncode == 2
    assert danlu("run", "wine", "--overwrit").returncode == 2


def test_the_schema_is_json(danlu: Command) -> None:
    assert json.loads(danlu("schema").stdout)["properties"]["data"]


def test_doctor_names_device_versions_and_extras(danlu: Command) -> None:
    done = danlu("doctor")
    assert done.returncode == 0
    assert "device: " in done.stdout
    assert "torch 2." in done.stdout
    assert "extra [image]: installed" in done.stdout


def test_doctor_gives_the_line_that_mends(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else found(name))
    advice = {item.subject: item for item in doctor()}
    assert not advice["extra [image]"].well
    assert advice["extra [image]"].message == "timm not installed"
    assert advice["extra [image]"].cure == "pip install 'danlu[image]'"


@pytest.mark.slow
def test_torchvision_of_another_build_is_recognised_and_mended() -> None:
    code = (
        "from danlu.core.imports import patch_torchvision; library = patch_torchvision(); "
        "import torchvision, timm; print(library is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    assert (done.stdout.strip() == "True") == (plain.returncode != 0)


def test_a_missing_extra_is_named_before_any_work(tmp_path: Path, text_file: Path) -> None:
    done = without({"timm"}, "run", "digits", "--set", "training.epochs=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'danlu[image]'" in done.stderr
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"data: {{source: '{text_file}', target: era}}\n")
    done = without({"transformers"}, "check", str(recipe), cwd=tmp_path)
    assert done.returncode == 1
    assert "needs transformers, not installed here: pip install 'danlu[text]'" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_table_needs_no_extra(tmp_path: Path) -> None:
    hidden = {"timm", "torchvision", "transformers", "tokenizers", "PIL", "pandas"}
    done = without(hidden, "run", "wine", "--set", "training.epochs=1", "-o", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_require_says_what_for() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(extras.EXTRAS, "image", ("a_package_that_is_nowhere",))
        with pytest.raises(MissingExtra, match="a timm model needs a_package_that_is_nowhere"):
            extras.require_extra("image", "a timm model")
