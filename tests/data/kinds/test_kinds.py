"""Nothing outside the kinds of data compares their names; what a component takes is a kind that there is."""

import re
from pathlib import Path

import pytest

import danlu
from danlu.core.component import components
from danlu.data.augment.base import Augmentation
from danlu.data.balance.base import Balancer
from danlu.data.kind import DataKind
from danlu.data.kinds.table import KINDS, get_kind
from danlu.errors import ArtifactError
from danlu.evaluation.robustness import Perturbation
from danlu.models.base import Model

SOURCE = Path(danlu.__file__).parent
NAMES = "|".join(KINDS)
COMPARISONS = (
    re.compile(r"\bkind\b(\.name)?\s*(==|!=)"),
    re.compile(rf"\bkind\b(\.name)?\s*(in|not in)\s*[(\[{{]\s*[\"']({NAMES})[\"']"),
    re.compile(rf"[\"']({NAMES})[\"']\s*(==|!=)\s*[\w.]*\bkind\b"),
    re.compile(rf"\{{[^{{}}]*[\"']({NAMES})[\"']:[^{{}}]*\}}(\[|\.get\()[\w.]*\bkind\b"),
)


@pytest.mark.parametrize(
    "line",
    [
        'if dataset.kind == "image":',
        'if kind != "tabular"',
        'return dataset.kind in ("chat", "preference")',
        'nouns = {"image": "images", "text": "texts"}.get(kind)',
        'if "corpus" == predictor.kind',
    ],
)
def test_a_comparison_of_names_is_found(line: str) -> None:
    assert any(pattern.search(line) for pattern in COMPARISONS)


def test_nothing_compares_the_name_of_a_kind() -> None:
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(SOURCE.rglob("*.py"))
        if (SOURCE / "data" / "kinds") not in file.parents
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if any(pattern.search(line) for pattern in COMPARISONS)
    ]
    assert found == []


def test_a_kind_is_listed_under_its_own_name() -> None:
    assert {name: kind.name for name, kind in KINDS.items()} == {name: name for name in KINDS}


def test_kinds_have_no_state_of_their_own() -> None:
    assert all(not vars(kind) for kind in KINDS.values())


def test_components_take_kinds_that_exist() -> None:
    taken = {
        kind
        for table in ("model", "augmentation", "balancer", "perturbation")
        for component in components(table).values()
        if issubclass(component, Model | Augmentation | Balancer | Perturbation)
        for kind in component.kinds
    }
    assert taken == set(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_the_default_model_takes_its_kind(kind: DataKind) -> None:
    family = components("model")[kind.default_model.split(":")[0]]
    assert issubclass(family, Model)
    assert kind.fits(family.kinds)


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_the_preprocessor_says_its_kind(kind: DataKind) -> None:
    assert kind.preprocessor.model_fields["kind"].default == kind.name


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ArtifactError, match=r"'imag': unknown kind of data; the nearest is \"image\""):
        get_kind("imag")
