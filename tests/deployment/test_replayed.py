"""What an image would do, done without one: its steps replayed, its server started, its golden rows answered."""

import shutil
import subprocess
from pathlib import Path

import pytest

import danlu
from danlu.deployment.measure import Client, ask_golden
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError
from tests.support.images import USER, replayed, started


@pytest.mark.slow
def test_the_steps_of_an_image_replayed_by_a_common_user_answer_the_golden_rows(
    table_run: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(table_run / "model", tmp_path / "bundle"))
    danlu.sign(new_key=tmp_path / "key")
    danlu.sign(bundle, key=tmp_path / "key")
    try:
        danlu.deploy(
            bundle, container=True, hashes=True, engine="numpy", trusted=tmp_path / "key.pub", output=tmp_path / "image"
        )
    except ArgumentError as error:
        pytest.skip(f"no package index here: {error}")
    subject = Subject.open(bundle, "numpy", None)
    with replayed(tmp_path / "image") as image:
        listed = subprocess.run(
            [image.root / "opt/danlu/bin/python", "-m", "pip", "list", "--format", "freeze"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "polars==" in listed
        assert "torch" not in listed
        assert "scikit" not in listed
        with started(image) as url:
            assert ask_golden(subject, Client(url, f"/predict/{subject.name}")) > 0
            command = [word.replace("http://127.0.0.1:8080", url) for word in image.health]
            subprocess.run(command, env=image.environment, check=True, **USER)
