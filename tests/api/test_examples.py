"""Every public name has an example in its docstring, which runs as it is written."""

import doctest
import inspect
from pathlib import Path

import pytest

import danlu
from danlu import testing
from danlu.core.imports import missing_packages

EXTRAS = {
    "generate": "text",
    "chat": "text",
    "export": "boosting",
    "serve": "serve",
    "replay": "serve",
    "sign": "sign",
}  # beside the core
PUBLIC = {
    **{f"danlu.{name}": name for name in danlu.__all__},
    **{f"danlu.testing.{name}": name for name in testing.__all__ if name != "CheckFailed"},
}


def docstring_of(label: str) -> str:
    home = testing if label.startswith("danlu.testing.") else danlu
    return inspect.getdoc(getattr(home, PUBLIC[label])) or ""


def run_example(label: str) -> None:
    """Run the example of a name; say what it printed where that is something else."""
    example = doctest.DocTestParser().get_doctest(docstring_of(label), {}, label, None, None)
    told: list[str] = []
    found = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(example, out=told.append)
    assert found.attempted > 0, f"{label} has no example"
    assert found.failed == 0, "".join(told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `runs/wine`, which the example of `danlu.run` makes and others use."""
    made = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        run_example("danlu.run")
    return made


def test_every_public_name_has_an_example() -> None:
    assert [label for label in PUBLIC if "\nExample:\n    >>> " not in docstring_of(label)] == []


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("label", [label for label in PUBLIC if label != "danlu.run"])
def test_the_example_runs(label: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = EXTRAS.get(PUBLIC[label])
    if extra is not None and missing_packages(extra):
        pytest.skip(f"needs the extra {extra}")
    monkeypatch.chdir(folder)
    run_example(label)
