"""docs/names.md: the lines of a recipe that mean what other libraries write; each is read, a handful trained."""

import re
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.core.component import components
from danlu.recipe.load import check_recipe
from danlu.recipe.yaml_text import parse_yaml

DOCS = Path(danlu.__file__).parents[2] / "docs"
ROW = re.compile(r"\| ([^|]+) \| `([^|]+)` \| `([^|]+)` \| ([^|]*) ?\|")
LIBRARIES = {"torch", "Keras", "scikit-learn", "imblearn", "Horovod", "tf.distribute"}
TRAINED = ("MinMaxScaler", "SMOTE(", "torch.optim.SGD")


def _rows(file: str) -> list[tuple[str, str, str]]:
    lines = (DOCS / file).read_text(encoding="utf-8").split("\n")
    return [(found[1], found[2], found[3]) for line in lines if (found := ROW.fullmatch(line)) is not None]


ROWS = _rows("names.md")


def _recipe(line: str) -> dict[str, Any]:
    part = parse_yaml(line, with_places=False)
    data = {"source": "builtin:wine", "target": "cultivar"} | part.get("data", {})
    return {**part, "data": data}


def test_the_table_has_every_library_and_is_the_same_in_chinese() -> None:
    assert len(ROWS) >= 60
    assert {library for library, _, _ in ROWS} == LIBRARIES
    assert _rows("names.zh.md") == ROWS


@pytest.mark.parametrize(("there", "line"), [(there, line) for _, there, line in ROWS])
def test_each_line_is_a_recipe_and_says_what_it_shows(there: str, line: str) -> None:
    """What the line writes is what the recipe holds: no key of it is ignored."""
    written = parse_yaml(line, with_places=False)
    read = check_recipe(_recipe(line)).model_dump(mode="json")
    for section, keys in written.items():
        for key in keys:
            assert read[section][key] not in (None, [], ()), f"{there}: {section}.{key}"


@pytest.mark.training
@pytest.mark.parametrize("there", TRAINED)
def test_some_lines_train(there: str, tmp_path: Path) -> None:
    line = next(line for _, code, line in ROWS if there in code)
    recipe = _recipe(line)
    recipe["model"] = {"name": "mlp", "hidden": [8]}
    recipe["training"] = {"epochs": 2, "schedule": "constant"} | recipe.get("training", {})
    run = danlu.train(recipe, output=tmp_path, name="run")
    assert len(run.metrics()) > 0 and (run.model / "bundle.json").is_file()


def test_every_scaler_and_balancer_but_a_few_is_named() -> None:
    lines = "\n".join(line for _, _, line in ROWS)
    unnamed = {name for table in ("scaler", "balancer") for name in components(table) if name not in lines}
    assert unnamed == {"symmetric", "log1p", "none", "logit-adjustment", "smote-tomek", "borderline-smote", "focal"} | (
        unnamed & {"quantile", "enn"}
    )
