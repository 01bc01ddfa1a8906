"""Paths in a recipe are found by the types of its fields, and a relative one is taken from the file it stands in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from danlu.core.component import OneOf, components
from danlu.recipe.load import check_recipe, dump_recipe, load_recipe
from danlu.recipe.paths import IsPath, resolve_paths
from danlu.recipe.schema import Recipe

PATHS = {
    "compression.steps.distill.teacher",
    "data.source",
    "data.source.path",
    "data.source.train",
    "data.source.train.path",
    "data.source.validation",
    "data.source.test",
    "data.chat_template",
    "model.hf.name",
    "model.timm.pretrained",
    "training.distill.teacher",
    "training.from_run",
    "training.track.mlflow",
}


def parts_of(annotation: Any) -> Iterator[Any]:
    """The types and marks that an annotation is made of."""
    yield annotation
    for part in (*getattr(annotation, "__metadata__", ()), *get_args(annotation)):
        yield from parts_of(part)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, bool, str]]:
    """Every key under a section, those of all components too: whether it is a path, and its description."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        parts = [*field.metadata, *parts_of(field.annotation)]
        yield key, any(isinstance(part, IsPath) for part in parts), field.description or ""
        for part in parts:
            if isinstance(part, OneOf):
                for family, component in components(part.kind).items():
                    yield from keys_of(component, f"{key}.{family}.")
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from keys_of(part, f"{key}.")


def test_every_path_of_a_recipe_is_known_and_has_the_type() -> None:
    keys = list(keys_of(Recipe))
    assert {key for key, is_path, _ in keys if is_path} == PATHS
    words = ("a file", "file or folder", "Jinja file", "a bundle", "a folder")
    named = {key for key, _, description in keys if any(word in description for word in words)}
    assert named <= PATHS, "a key that names a file or a folder is a RecipePath"


def test_relative_paths_are_taken_from_the_file_they_stand_in(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.yaml").write_text(
        "data: {chat_template: base.jinja}\ntraining: {distill: {teacher: ../runs/t}}\n"
    )
    file = tmp_path / "inner" / "recipe.yaml"
    file.write_text("extends: ../base.yaml\ndata: {source: [a.jsonl, b/*.jsonl]}\nmodel: hf:./llm\n")
    recipe = load_recipe(file)
    assert recipe.data.source == (f"{tmp_path}/inner/a.jsonl", f"{tmp_path}/inner/b/*.jsonl")
    assert recipe.data.chat_template == f"{tmp_path}/inner/../base.jinja"
    assert recipe.training.distill is not None
    assert recipe.training.distill.teacher == f"{tmp_path}/inner/../../runs/t"
    assert recipe.model is not None and recipe.model.name == f"hf:{tmp_path}/inner/llm"


def test_a_kept_recipe_names_the_same_files_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text("data: {source: chats.jsonl, chat_template: t.jinja}\n")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    kept = tmp_path / "runs" / "recipe.yaml"
    kept.parent.mkdir()
    kept.write_text(dump_recipe(recipe))
    monkeypatch.chdir(kept.parent)
    assert load_recipe(kept) == recipe


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ({"data": {"source": "builtin:wine"}}, {"data": {"source": "builtin:wine"}}),
        ({"data": {"chat_template": "chatml"}}, {"data": {"chat_template": "chatml"}}),
        ({"data": {"chat_template": "plain.jinja"}}, {"data": {"chat_template": "/r/plain.jinja"}}),
        ({"data": {"source": "/abs/x.csv"}}, {"data": {"source": "/abs/x.csv"}}),
        ({"model": "hf:llama"}, {"model": "hf:llama"}),
        ({"model": {"hf:./llm": {"dropout": 0.1}}}, {"model": {"hf:/r/llm": {"dropout": 0.1}}}),
        ({"model": {"timm:resnet18": {"pretrained": "w.pt"}}}, {"model": {"timm:resnet18": {"pretrained": "/r/w.pt"}}}),
        *(
            ({"training": {"track": {"mlflow": written}}}, {"training": {"track": {"mlflow": known}}})
            for written, known in (
                ("sqlite:///m.db", "sqlite:////r/m.db"),
                ("sqlite:///logs/m.db?timeout=3", "sqlite:////r/logs/m.db?timeout=3"),
                ("sqlite:////abs/m.db", "sqlite:////abs/m.db"),
                ("sqlite:///:memory:", "sqlite:///:memory:"),
                ("http://host:5000", "http://host:5000"),
                ("postgresql://host/m", "postgresql://host/m"),
            )
        ),
        # the name stands in the file that this one extends
        ({"model": {"pretrained": "w.pt"}}, {"model": {"pretrained": "/r/w.pt"}}),
        # what is wrong stays as it is, for the check to say so
        ({"data": 3, "model": [1], "training": {"distill": "t"}, "x": "y"},) * 2,
        ({"data": {"source": 4}, "model": {"nmae": "hf:./llm"}},) * 2,
    ],
)
def test_what_is_a_path_becomes_absolute_and_nothing_else(written: dict[str, Any], known: dict[str, Any]) -> None:
    assert resolve_paths(Recipe, written, Path("/r")) == known


def test_what_a_search_may_choose_is_taken_from_its_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tuning = {
        "space": {
            "model": ["hf:./a", {"hf:./b": {"dropout": 0.1}}, {"name": "hf:./c"}],
            "training.distill": {"choices": [None, {"teacher": "runs/t"}]},
            "training.epochs": [1, 2],
        }
    }
    recipe = check_recipe({"data": {"source": "a.txt", "task": "language-modelling"}, "tuning": tuning})
    assert recipe.tuning is not None
    space = recipe.tuning.model_dump(mode="json")["space"]
    assert space["model"] == [f"hf:{tmp_path}/a", {f"hf:{tmp_path}/b": {"dropout": 0.1}}, {"name": f"hf:{tmp_path}/c"}]
    assert space["training.distill"]["choices"] == [None, {"teacher": f"{tmp_path}/runs/t"}]
    assert space["training.epochs"] == [1, 2]


@pytest.mark.parametrize("key", ["model.name", "model.pretrained", "training.distill.teacher"])
def test_a_searched_path_is_found_by_its_key_alone(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = ("hf:./m", f"hf:{tmp_path}/m") if key == "model.name" else ("m", f"{tmp_path}/m")
    model = "hf:llama" if key == "model.name" else "timm:resnet18"
    source = {"source": "a.txt", "task": "language-modelling" if key == "model.name" else "classification"}
    training = {"distill": {"teacher": "t"}}
    recipe = check_recipe({"data": source, "model": model, "training": training, "tuning": {"space": {key: [before]}}})
    assert recipe.tuning is not None
    assert recipe.tuning.space[key] == (after,)
