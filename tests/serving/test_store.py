"""What sources name: bundles, stores, versions, and the version that answers."""

import json
from pathlib import Path

import pytest

from danlu.errors import ArgumentError, ArtifactError
from danlu.serving.store import Canary, Model, Policy, find_models, read_model


def bundle(folder: Path, name: str = "wine") -> Path:
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(json.dumps({"name": name}), encoding="utf-8")
    return folder


def store(root: Path, *versions: str, policy: object = None) -> Path:
    for version in versions:
        bundle(root / "wine" / version)
    if policy is not None:
        (root / "wine" / "serving.json").write_text(json.dumps(policy), encoding="utf-8")
    return root


def test_a_bundle_is_called_as_its_manifest_says_or_as_is_asked(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "a")
    found = find_models([str(folder), f"other={folder}"])
    assert {name: dict(model.versions) for name, model in found.items()} == {
        "wine": {"1": folder},
        "other": {"1": folder},
    }


def test_the_newest_version_of_a_store_is_the_highest_number(tmp_path: Path) -> None:
    model = find_models([str(store(tmp_path, "2", "10", "9"))])["wine"]
    assert model.default == "10" and [*model.versions] == ["10"]


def test_a_policy_names_what_is_served(tmp_path: Path) -> None:
    policy = {"default": "2", "aliases": {"stable": "1"}, "canary": {"version": "3", "share": 0.25}}
    model = find_models([str(store(tmp_path, "1", "2", "3", "4", policy=policy))])["wine"]
    assert [*model.versions] == ["1", "2", "3"]
    assert (model.resolve("stable"), model.resolve("3"), model.resolve("4")) == ("1", "3", None)


def test_a_canary_answers_its_share_and_the_same_request_the_same_way() -> None:
    versions = {"1": Path(), "2": Path()}
    model = Model("wine", versions, Policy(default="1", canary=Canary(version="2", share=0.25)))
    chosen = [model.version_for(f"request {number}") for number in range(4000)]
    assert 900 < chosen.count("2") < 1100
    assert chosen == [model.version_for(f"request {number}") for number in range(4000)]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"default": "7"}, "no version '7'"),
        ({"canary": {"version": "1", "share": 2}}, "canary.share"),
        ({"defualt": "1"}, "defualt"),
        ({"aliases": {"a/b": "1"}}, "cannot be an alias"),
        ([], "serving.json"),
    ],
)
def test_a_wrong_policy_is_refused_by_its_key(policy: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=said):
        read_model(store(tmp_path, "1", policy=policy) / "wine")


def test_names_that_no_route_can_hold_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "a", name="win e")
    with pytest.raises(ArgumentError, match="cannot be a model's name"):
        find_models([f"a/b={folder}"])
    with pytest.raises(ArgumentError, match="two models are called 'x'"):
        find_models([f"x={folder}", f"x={folder}"])
    with pytest.raises(ArtifactError, match="neither a bundle"):
        find_models([str(tmp_path / "none")])
