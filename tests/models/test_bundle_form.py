"""Foreign and forged bundles are refused by name, whichever field of theirs says what is of no use."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

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


TEACHER = {"data": {"source": "builtin:wine"}, "model": "linear", "training": {"device": "cpu"}}
VERBS: dict[str, Callable[[Path, Path], object]] = {
    "load": lambda bundle, out: danlu.load(bundle),
    "predict": lambda bundle, out: danlu.predict(bundle, "builtin:wine"),
    "evaluate": lambda bundle, out: danlu.evaluate(bundle),
    "export": lambda bundle, out: danlu.export(bundle, out),
    "explain": lambda bundle, out: danlu.explain(bundle, "builtin:wine"),
    "visualize": lambda bundle, out: danlu.visualize(bundle, output=out),
    "generate": lambda bundle, out: danlu.generate(bundle, "a"),
    "chat": lambda bundle, out: danlu.chat(bundle),
    "check against": lambda bundle, out: danlu.check("builtin:wine", against=bundle),
    "compare": lambda bundle, out: danlu.compare([bundle, bundle]),
    "resume": lambda bundle, out: danlu.resume(bundle),
    "train from": lambda bundle, out: danlu.train("wine", from_run=bundle, output=out),
    "distill": lambda bundle, out: danlu.train(
        {**TEACHER, "training": {"distill": {"teacher": str(bundle)}, "device": "cpu"}}, output=out
    ),
}


@pytest.mark.parametrize("manifest", [b"[]", b"{}", b'{"format": 99}', b"\xff\xfe\x00", b"[" * 100_000])
@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_no_bundle_is_refused_by_every_verb(verb: str, manifest: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "bundle.json").write_bytes(manifest)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "recipe.yaml").write_text("data: {source: builtin:wine}", encoding="utf-8")
    with pytest.raises(DanluError):
        VERBS[verb](folder, tmp_path / "out")
    assert not all(item.well for item in danlu.doctor(folder))
    assert not (tmp_path / "out").exists()
