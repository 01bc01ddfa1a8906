"""The rules that `scripts/mutate.py` breaks are where its table says, and so are their tests."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mutate", module)
    spec.loader.exec_module(module)
    return module


def test_every_rule_and_its_test_are_found(mutate: ModuleType) -> None:
    assert [rule for rule, test in mutate.RULES.items() if not (ROOT / test.split("::")[0]).is_file()] == []
    assert [rule for rule in mutate.RULES if not mutate.mutations_of(rule)] == []


def test_a_rule_that_has_moved_is_named(mutate: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"Seed\.derived: there is no 'derived'"):
        mutate.mutations_of("danlu.core.seeds:Seed.derived")
