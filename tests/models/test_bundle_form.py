"""Foreign and forged bundles are refused by name, whichever field of theirs says what is of no use."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.core.console import silenced
from danlu.errors import DanluError
from tests.support.forgeries import ODD, fields, forge

EDITS = 40


@pytest.mark.training
@pytest.mark.parametrize(
    "run", ["table_run", *(pytest.param(name, marks=pytest.mark.slow) for name in ("text_run", "image_run"))]
)
def test_a_forged_manifest_is_refused_or_answers_alike(
    run: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(run) / "model"
    manifest = json.loads((source / "bundle.json").read_text(encoding="utf-8"))
    where = fields(manifest)
    rows = pl.read_parquet(source / "golden.parquet").drop("label", "answer", "prediction", strict=False)
    expected = danlu.load(source).predict(rows)["prediction"].to_list()
    drawn, refused = random.Random(1), 0
    for number in range(EDITS):
        forged = Path(shutil.copytree(source, tmp_path / str(number)))
        forge(forged / "bundle.json", manifest, drawn.choice(where), drawn.choice(ODD), drawn.random() < 0.2)
        try:
            with silenced():
                answers = danlu.predict(forged, rows)["prediction"].to_list()
        except DanluError:
            refused += 1
        else:
            assert answers == expected
    assert refused > EDITS / 3


@pytest.mark.parametrize("verb", ["load", "predict", "evaluate", "export", "generate", "doctor"])
def test_a_folder_that_is_no_bundle_is_refused_by_every_verb(verb: str, tmp_path: Path) -> None:
    for name, content in {
        "bundle.json": "[]",
        "config.json": "{}",
        "recipe.yaml": "data: {source: builtin:wine}",
    }.items():
        (tmp_path / name).write_text(content)
    rest: dict[str, tuple[Any, ...]] = {"predict": ("builtin:wine",), "export": (tmp_path / "out",), "generate": ("a",)}
    if verb == "doctor":
        assert not all(item.well for item in danlu.doctor(tmp_path))
        return
    with pytest.raises(DanluError):
        getattr(danlu, verb)(tmp_path, *rest.get(verb, ()))
