"""Foreign and forged bundles are refused by name, whichever field of theirs says what is of no use."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.artifacts.files import sha256_of_json
from danlu.core.console import silenced
from danlu.errors import DanluError

ODD: tuple[Any, ...] = (None, -1, 0, 1e308, "", "x", [], {}, [[]], True, {"a": 1}, 10**30)
EDITS = 40


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON; of lists the first two."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


def edited(manifest: dict[str, Any], place: tuple[Any, ...], value: Any, takes_out: bool) -> dict[str, Any]:
    """A manifest with one field changed or taken out, and its digest made anew."""
    changed = json.loads(json.dumps(manifest))
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if takes_out:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    changed["digest"] = sha256_of_json({key: kept for key, kept in changed.items() if key != "digest"})
    return dict(changed)


@pytest.mark.training
@pytest.mark.parametrize(
    "run", ["table_run", *(pytest.param(name, marks=pytest.mark.slow) for name in ("text_run", "image_run"))]
)
def test_a_forged_manifest_is_refused_or_answers_alike(
    run: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(run) / "model"
    manifest = json.loads((source / "bundle.json").read_text(encoding="utf-8"))
    where = [place for place in places(manifest) if place[0] not in ("digest", "files")]
    rows = pl.read_parquet(source / "golden.parquet").drop("label", "answer", "prediction", strict=False)
    expected = danlu.load(source).predict(rows)["prediction"].to_list()
    drawn, refused = random.Random(1), 0
    for number in range(EDITS):
        forged = Path(shutil.copytree(source, tmp_path / str(number)))
        changed = edited(manifest, drawn.choice(where), drawn.choice(ODD), drawn.random() < 0.2)
        (forged / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
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
