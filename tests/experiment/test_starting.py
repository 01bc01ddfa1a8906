"""What a beginner meets: the choices in a new recipe, idle GPUs, folds on the console, models that do not count."""

from types import SimpleNamespace
from typing import Any

import pytest

import danlu
from danlu.cli.main import _run
from danlu.cli.show import fold_rows
from danlu.core.component import components
from danlu.data.tabular.scaling import SCALERS
from danlu.experiment.model_summary import idle_devices_note
from danlu.models import catalog


def test_a_new_recipe_shows_all_choices_of_a_key_in_its_line() -> None:
    lines = danlu.new("builtin:wine").split("\n")

    def shown(key: str) -> list[str]:
        line = next(line for line in lines if line.strip().startswith(f"{key}:") and "#" in line)
        return line.partition("# ")[2].split(" | ")

    assert shown("optimizer") == list(components("optimizer"))
    assert shown("schedule") == list(components("schedule"))
    assert shown("scale") == list(SCALERS)
    assert shown("split") == ["stratified", "random", "{group: COLUMN}", "{time: COLUMN}", "{column: COLUMN}"]
    assert {"linear", "mlp", "tabm", "tree", "boosting"} <= set(shown("model")) and "timm" not in shown("model")


@pytest.mark.parametrize(
    ("devices", "processes", "told"), [(4, 1, "one of 4 GPUs; --processes 4"), (1, 1, None), (4, 4, None)]
)
def test_a_run_on_one_of_several_gpus_says_how_to_use_all(
    devices: int, processes: int, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch, "get_device_module", lambda kind: SimpleNamespace(device_count=lambda: devices))
    note = idle_devices_note("cuda", processes)
    assert note is None if told is None else told in str(note)
    assert idle_devices_note("cpu", 1) is None


def test_a_cross_validation_has_a_row_for_each_metric() -> None:
    figure = {"mean": 0.9, "std": 0.02, "low": 0.85, "high": 0.95, "values": [0.88, 0.92]}
    assert fold_rows({"folds": {"metrics": {"accuracy": figure}}}) == [
        {"metric": "accuracy", "mean": 0.9, "deviation": 0.02, "interval": "0.85 to 0.95"}
    ]
    assert fold_rows({"test": {}}) == []


def test_a_model_whose_flops_cannot_be_counted_is_listed_with_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `timm:test_vit3`, inside which torch's counter fails an assertion."""

    def fails(*_: Any) -> int:
        raise AssertionError("Expected gradient function to be set")

    monkeypatch.setattr(catalog, "_flops", fails)
    monkeypatch.setattr(catalog, "cached_dir", _uncached)
    (found,) = danlu.list_models(like="linear")
    assert found.flops is None and found.parameters is not None and found.parameters > 0


def _uncached(*_: Any) -> Any:
    from danlu.errors import ArtifactError

    raise ArtifactError("no cache")


def test_deploy_without_arguments_explains_its_two_uses(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["deploy"]) == 2
    told = capsys.readouterr().err
    assert "two uses" in told and "--container" in told and "--training slurm" in told
