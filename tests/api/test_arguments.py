"""Whatever a public function is given, what it cannot take is refused by the argument's name."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import NonNegativeInt, PositiveInt

import danlu
from danlu.core.arguments import checked, described
from danlu.errors import ArgumentError, DanluError

FUNCTIONS = {name: value for name in danlu.__all__ if inspect.isfunction(value := getattr(danlu, name))}
# What no parameter takes, whatever its type: of rows in memory and recipes, some value is an error of theirs.
NONSENSE: tuple[Any, ...] = (
    3,
    -1,
    2.5,
    b"x",
    object(),
    [],
    {},
    ["x", 3],
    "\0",
    "",
    "x" * 5000,
    "nope",
    None,
    (),
    float("nan"),
    True,
)
NEEDED = {"training": "slurm"}


def calls() -> list[Any]:
    """Return each function with each of its parameters."""
    return [
        pytest.param(function, name, id=f"{title}-{name}")
        for title, function in FUNCTIONS.items()
        for name in inspect.signature(function).parameters
    ]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_public_function_checks_its_arguments() -> None:
    with_parameters = [name for name, function in FUNCTIONS.items() if inspect.signature(function).parameters]
    assert [name for name in with_parameters if not hasattr(FUNCTIONS[name], "__wrapped__")] == []


class Refused:
    """Stand for the process of a server, which would refuse a source that is not there."""

    def __init__(self, arguments: list[str]) -> None:
        if not all("\0" not in word for word in arguments):
            raise ValueError("embedded null byte")  # as subprocess does
        raise ArgumentError("serve: none-here: no bundle", code="DL401")


@pytest.mark.parametrize(("function", "parameter"), calls())
def test_nonsense_ends_in_an_error_of_danlus_own(
    function: Callable[..., Any], parameter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if function is danlu.serve and parameter != "sources":
        monkeypatch.setattr("danlu.serving.process.Server", Refused)
    parameters = inspect.signature(function).parameters
    given = {
        name: NEEDED.get(name, "none-here")
        for name, each in parameters.items()
        if each.default is inspect.Parameter.empty
    }
    for value in NONSENSE:
        if value is parameters[parameter].default:
            continue
        with suppress(DanluError):  # what fits is answered, if only by an empty list of runs
            function(**{**given, parameter: value})


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("load", (3,), {}, "bundle: cannot take 3; give a path"),
    ("predict", (3, "x.csv"), {}, "bundle: cannot take 3; give a path"),
    ("predict", ("run", "x.csv"), {"broken": "nope"}, "broken: cannot take 'nope'; give one of row, skip, fail"),
    ("predict", ("run", "x.csv"), {"keep": "id"}, "keep: cannot take 'id'; give a list of texts"),
    ("load", ("",), {}, "bundle: cannot take ''; give a path"),
    ("new", ("builtin:wine",), {"output": "a\0b"}, "output: cannot take .*; give a path or None"),
    ("runs", ("x" * 300,), {}, "output: cannot take a value of type str; give a path"),
    ("evaluate", (3,), {}, "run: cannot take 3; give a path"),
    ("generate", (3,), {}, "bundle: cannot take 3; give a path"),
    ("generate", ("run",), {"temperature": "hot"}, "temperature: cannot take 'hot'; give a number"),
    ("export", (3, "folder"), {}, "bundle: cannot take 3; give a path"),
    ("runs", (3,), {}, "output: cannot take 3; give a path"),
    ("new", (3,), {}, "source: cannot take 3; give a path"),
    ("check", (3,), {}, "recipe: cannot take a value of type int"),
    ("train", (None,), {}, "recipe: cannot take a value of type NoneType"),
    ("train", ("wine",), {"name": 3}, "name: cannot take 3; give text or None"),
    ("plan", ("wine",), {"memory_bytes": -1}, "memory_bytes: cannot take -1; give a whole number above 0 or None"),
    ("plan", (3,), {}, "recipe: cannot take 3; give a Recipe, a mapping or a path"),
    ("tune", ("wine",), {"trials": 0}, "trials: cannot take 0; give a whole number above 0 or None"),
    ("compare", (3,), {}, "runs: cannot take 3; give a list of paths"),
    ("compare", ("run",), {}, "runs: cannot take 'run'; give a list of paths"),
    ("visualize", ("wine",), {"samples": True}, "samples: cannot take True; give a whole number above 0"),
    ("deploy", ("wine",), {"training": "slrm"}, "training: cannot take 'slrm'; .*the nearest is \"slurm\""),
    ("deploy", ("wine",), {"training": "ray", "gpus": -1}, "gpus: cannot take -1; give a whole number of at least 0"),
    ("load_recipe", ("wine",), {"overrides": "seed=1"}, "overrides: cannot take 'seed=1'; give a list of texts"),
]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "said"), WRONG, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(WRONG)]
)
def test_a_wrong_argument_is_named_with_what_to_give(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArgumentError, match=f"^{said}") as refused:
        FUNCTIONS[name](*args, **kwargs)
    assert refused.value.code == "DL402"


def test_the_classes_that_open_something_refuse_nonsense() -> None:
    for opening in (danlu.RunDirectory.open, danlu.Predictor.load):
        with pytest.raises(ArgumentError, match="path: cannot take 3; give a path"):
            opening(3)  # type: ignore[arg-type]


@checked
def asked(count: PositiveInt, share: float = 0.5, *, at: str | Path | None = None, any_value: object = None) -> str:
    """Stand for a function of any kind."""
    return f"{count} {share} {at} {any_value}"


def test_what_fits_goes_through_as_it_is() -> None:
    assert asked(1) == "1 0.5 None None"
    assert asked(np.int64(2), 1, at=Path("x"), any_value=[3]) == "2 1 x [3]"
    assert asked(count=3, share=np.float32(0.25), at="y") == "3 0.25 y None"


def test_a_range_is_described() -> None:
    assert described(NonNegativeInt | None) == "a whole number of at least 0 or None"
    assert described(Callable[[str], None] | None) == "a function or None"
