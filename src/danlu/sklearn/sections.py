"""Sections of a recipe as an estimator's parameters: nested keys, and the whole recipe of a fit.

In: sections as mappings or typed values, keys as `training__optimizer__lr`. Out: plain values for `danlu.train`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from danlu.core.component import Frozen, components
from danlu.models.base import SelfFittingModel
from danlu.recipe.variants import put_value

SECTIONS = ("data", "model", "training", "evaluation")  # parameters with keys of their own
GIVEN = ("source", "target", "target_separator", "task")  # keys of `data` that X and y decide
SEED_RANGE = 2**31

Section = str | Mapping[str, Any] | Frozen | None


def as_values(section: Section, key: str) -> dict[str, Any]:
    """Return a section as plain values; of a typed one those that were set.

    Raises:
        ValueError: it is neither keys with values nor a name; `key` names it.
    """
    if section is None:
        return {}
    if isinstance(section, str):  # a model by its name alone
        return {"name": section}
    if isinstance(section, Frozen):
        return section.model_dump(mode="json", by_alias=True, exclude_unset=True) | _name(section)
    if not isinstance(section, Mapping):
        raise ValueError(f"{key}: takes keys with values, as a mapping, got {section!r}")
    return dict(section)


def _name(section: Frozen) -> dict[str, Any]:
    """Return the name of a component, which it has without having been told."""
    return {"name": name} if (name := getattr(section, "name", None)) is not None else {}


def predicts_several_labels(model: Any) -> bool:
    """Return whether a model can give a row several labels.

    Those that grow without gradient steps cannot.
    """
    if not isinstance(model, str | Mapping | Frozen):
        return True  # the usual model, or a value that `fit` refuses
    written = as_values(model, "model")
    name = str(written.get("name") or next(iter(written), ""))
    family = components("model").get(name.partition(":")[0])
    return family is None or not issubclass(family, SelfFittingModel)


def nested(name: str, section: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys inside a section, as `training__optimizer__lr`, with their values."""
    if not isinstance(section, Mapping):
        return
    for key, value in section.items():
        yield f"{name}__{key}", value
        yield from nested(f"{name}__{key}", value)


def with_key(name: str, section: Section, path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a copy of a section with another value under a key.

    Args:
        name: the section's.
        path: the key below it, in parts.

    Raises:
        ValueError: a part of the path is no section, or the key is an option of a model that has no name.
    """
    if name == "model" and section is None and path[0] != "name" and path[0] not in components("model"):
        raise ValueError(f"model__{path[0]}: no model is named whose option this is; set model too, as model='mlp'")
    return put_value(as_values(section, name), path, value)


def seed_of(seed: int, random_state: Any) -> int:
    """Return the recipe's seed: `random_state` where it is given, else `seed`."""
    if random_state is None:
        return seed
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(SEED_RANGE))


def recipe_of(
    parameters: Mapping[str, Any], task: str, target: str | list[str], numbers: Sequence[str]
) -> dict[str, Any]:
    """Build the recipe of a fit.

    No row tests unless `data.split` says so: scikit-learn's tools hold rows out themselves.

    Args:
        parameters: the estimator's, by name.
        task: the recipe's `data.task`.
        target: the columns of the answers.
        numbers: columns that hold numbers, whatever they look like.

    Raises:
        ValueError: a section sets what X and y decide, or folds.
    """
    sections = {name: as_values(parameters[name], name) for name in SECTIONS}
    data = sections["data"]
    if said := [key for key in GIVEN if key in data]:
        raise ValueError(f"data.{said[0]}: X and y decide it; leave it out")
    if sections["evaluation"].get("folds") is not None:
        raise ValueError("evaluation.folds: an estimator is fitted once; use sklearn.model_selection.cross_val_score")
    types = dict.fromkeys(numbers, "number") | as_values(data.get("columns"), "data.columns")
    split = {"test": 0.0} | as_values(data.get("split"), "data.split")
    sections["data"] = {**data, "split": split, "target": target, "task": task}
    if types:
        sections["data"]["columns"] = types
    seed = seed_of(parameters["seed"], parameters["random_state"])
    # A pickled estimator goes where its rows need not go.
    fixed = {"name": parameters["name"], "seed": seed, "bundle": {"reference": "statistics"}}
    return fixed | {key: values for key, values in sections.items() if values}
