"""Recipes drawn from the schema, right and wrong: each is accepted or refused with exit code 2 or 3, and none hangs.

What `check` accepts of danlu's own families is also sent through every stage by `--dry-run`, in the slow test.
"""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import danlu
from danlu.api.run import dry_run
from danlu.errors import DanluError
from danlu.recipe.load import check_recipe, load_recipe

FORESEEN = (2, 3)
QUICK, SLOW, DRY, LIMIT_S = 300, 3000, 40, 60
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 10**30, float("nan"), float("-inf"), "", " ", "x" * 300, "~nobody/x.csv", "a\0b"),
    *("../..", "\ud800", [], {}, [[]], [None], {"name": 5}, {"": ""}, {5: 6}, [{}], "auto", "none", b"bytes", {1, 2}),
)
EDGES = (0, 1, 2, 3, 7, 64, 1000, 10**6, 10**10, 2**63)
# Of these sections a dry run would load weights, start processes, or send figures elsewhere.
LEFT_OUT = {"track", "callbacks", "distill", "from_run", "parallel", "tuning", "finetune", "preference"}


class Drawn:
    """Draws values of a JSON schema; one in `odd_one_in` is replaced by something odd."""

    def __init__(self, seed: int, odd_one_in: int) -> None:
        self.schema, self.random, self.odd_one_in = danlu.schema(), random.Random(seed), odd_one_in

    def recipe(self) -> dict[str, Any]:
        values = self.value(self.schema, 0, odd=False)
        assert isinstance(values, dict)
        data = values.get("data")
        values["data"] = {**(data if isinstance(data, dict) else {}), "source": "builtin:wine"}
        if self.is_odd():
            values["data"]["source"] = self.random.choice(ODD)
        if self.is_odd():
            values["extends"] = self.random.choice(ODD)
        return values

    def is_odd(self) -> bool:
        return self.odd_one_in > 0 and self.random.randrange(self.odd_one_in) == 0

    def value(self, schema: dict[str, Any], depth: int, odd: bool = True) -> Any:
        if odd and self.is_odd():
            return self.random.choice(ODD)
        if "$ref" in schema:
            return self.value(self.schema["$defs"][schema["$ref"].rsplit("/", 1)[1]], depth, odd)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.value(self.random.choice(schema[several]), depth, odd)
        if "const" in schema or "enum" in schema:
            return self.random.choice(schema.get("enum", [schema.get("const")]))
        draw: Callable[[dict[str, Any], int], Any] = getattr(self, f"_{schema.get('type', 'string')}")
        return draw(schema, depth)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        listed, required = schema.get("properties", {}), schema.get("required", [])
        asked = [name for name in listed if name in required or self.random.random() < (0.3 if depth < 3 else 0.15)]
        return {name: self.value(listed[name], depth + 1) for name in asked if name not in LEFT_OUT or name in required}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        items = schema.get("items", schema.get("prefixItems", [{}])[0] if schema.get("prefixItems") else {})
        return [self.value(items, depth + 1) for _ in range(self.random.randrange(4))]

    def _integer(self, schema: dict[str, Any], depth: int) -> int:
        low = int(schema.get("minimum", schema.get("exclusiveMinimum", 0)))
        fits = [low + edge for edge in EDGES if low + edge <= schema.get("maximum", 2**70)]
        return self.random.choice(fits[: self.random.choice([3, 6, len(fits)])])

    def _number(self, schema: dict[str, Any], depth: int) -> float:
        low, high = schema.get("minimum", schema.get("exclusiveMinimum", 0.0)), schema.get("maximum", 1.0)
        return self.random.choice([low, high, (low + high) / 2, low + 1e-9, 0.1, 1e-3])

    def _string(self, schema: dict[str, Any], depth: int) -> str:
        return self.random.choice(["cultivar", "ash", "alcohol", "accuracy", "f1", "x", "validation/loss"])

    def _boolean(self, schema: dict[str, Any], depth: int) -> bool:
        return self.random.random() < 0.5

    def _null(self, schema: dict[str, Any], depth: int) -> None:
        return None


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in work that takes longer."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(act: Callable[[], object]) -> int:
    """The exit code that some work would end with; any error that is not foreseen goes through."""
    failed: DanluError | None = None
    with at_most(LIMIT_S):
        try:
            act()
        except DanluError as error:
            failed = error
    assert failed is None or failed.exit_code in FORESEEN, repr(failed)
    return 0 if failed is None else failed.exit_code


@pytest.mark.parametrize("odd_one_in", [0, 6, 30])
def test_a_recipe_is_accepted_or_refused_by_name(odd_one_in: int) -> None:
    drawn = Drawn(odd_one_in, odd_one_in)
    codes = [outcome(partial(check_recipe, drawn.recipe())) for _ in range(QUICK // 3)]
    assert set(codes) <= {0, *FORESEEN} and 2 in codes


@pytest.mark.slow
@pytest.mark.parametrize("odd_one_in", [0, 6, 30])
def test_a_recipe_is_checked_against_its_data_or_refused(odd_one_in: int) -> None:
    drawn, passed = Drawn(100 + odd_one_in, odd_one_in), 0
    for _ in range(SLOW // 3):
        values = drawn.recipe()
        if outcome(partial(check_recipe, values)) == 0:
            passed += outcome(partial(danlu.check, values)) == 0
    assert passed or odd_one_in == 6


OWN = ("linear", "mlp", "resnet", "tabm", "additive", "tree")
SMALL = {"epochs": 1, "batch_size": 16, "device": "cpu"}


@pytest.mark.slow
def test_what_check_accepts_of_danlus_own_families_runs_dry() -> None:
    drawn, ran = Drawn(7, 0), 0
    while ran < DRY:
        values = drawn.recipe()
        split = values["data"].get("split")
        if isinstance(split, dict) and split.get("test") == 0:
            continue  # for `danlu train`; a run judges its model
        if "adasyn" in str(values["data"].get("balance")):
            continue  # whether it can make rows is known once it looked for neighbours, in training
        model = {"name": drawn.random.choice(OWN)}
        section = {key: value for key, value in values.get("evaluation", {}).items() if key in ("baselines", "slices")}
        asked = {**values, "model": model, "training": SMALL, "evaluation": {**section, "resamples": 20}}
        if outcome(partial(danlu.check, asked)) == 0:
            assert outcome(partial(dry_run, asked)) == 0, asked
            ran += 1


HOSTILE = {
    "extends 5": "extends: 5\ndata: {source: a.csv}",
    "extends nothing": "extends: null\ndata: {source: a.csv}",
    "extends a mapping": "extends: {a: 1}\ndata: {source: a.csv}",
    "extends numbers": "extends: [1, null]\ndata: {source: a.csv}",
    "extends a folder": "extends: .\ndata: {source: a.csv}",
    "extends a zero byte": 'extends: "a\\0b"\ndata: {source: a.csv}',
    "extends an overlong name": f"extends: {'x' * 5000}\ndata: {{source: a.csv}}",
    "deep lists": "data: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "data: " + "{a: " * 1500 + "1" + "}" * 1500,
    "deep blocks": "\n".join(" " * depth + "a:" for depth in range(1500)),
    "an alias bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]" for n in range(9))
    + "\ndata: {source: *j}",
    "an alias of itself": "data: &d {source: *d}",
    "a number of thousands of digits": f"seed: {'9' * 5000}\ndata: {{source: a.csv}}",
    "a rate without end": "data: {source: a.csv}\ntraining: {optimizer: {adamw: {lr: 1e999}}}",
    "no source": "data: {source: []}",
    "an empty source": 'data: {source: ""}',
    "a source with a zero byte": 'data: {source: "a\\0b"}',
    "an option of a component without any": "data: {source: a.csv, split: {by: {random: 7}}}",
    "an overlong name": f"name: {'x' * 300}\ndata: {{source: a.csv}}",
    "a binary": "data: !!binary aGVsbG8=",
    "a date of no calendar": "name: 2024-13-45\ndata: {source: a.csv}",
    "too many resamples": "data: {source: a.csv}\nevaluation: {resamples: 10000000000}",
    "too many folds": "data: {source: a.csv}\nevaluation: {folds: 1000000000}",
    "too many threads": "data: {source: a.csv}\ntraining: {threads: {compute: 1000000}}",
    "too many blocks": "data: {source: a.csv}\nmodel: {resnet: {blocks: 100000000}}",
    "a layer too wide": "data: {source: a.csv}\nmodel: {mlp: {hidden: [10000000000]}}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recipe_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with at_most(20), pytest.raises(DanluError) as refused:
        load_recipe(file)
    assert refused.value.exit_code == 2
    assert f"{file}:" in str(refused.value) and len(str(refused.value)) < 8000


@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, "9" * 5000, "&a [*a]", "!!python/object:x.y {", "\x07"])
def test_a_hostile_override_is_refused(value: str) -> None:
    with pytest.raises(DanluError) as refused:
        load_recipe("wine", overrides=[f"seed={value}"])
    assert refused.value.exit_code == 2


def test_a_network_that_no_memory_holds_is_refused_by_check_before_any_training() -> None:
    values = {"data": {"source": "builtin:wine"}, "model": {"mlp": {"hidden": [1_000_000, 1_000_000]}}}
    with pytest.raises(DanluError, match=r"model: needs at least 8,000\.0 GB for its weights") as refused:
        danlu.check(values)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("model", ["mlp", "resnet", "ft-transformer", "tabm"])
@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_the_least_number_of_parameters_is_no_more_than_there_are(model: str, size: str) -> None:
    from danlu.data.specs import TabularInputs
    from danlu.models.base import Model

    options = Model.of(check_recipe({"data": {"source": "x"}, "model": {"name": model, "size": size}}).model)
    network = options.build(TabularInputs(numeric=3, cardinalities=()), 3)
    count = sum(each.numel() for each in network.parameters())
    assert options.fewest_parameters() <= count
    assert size == "small" or options.fewest_parameters() > count / 20
