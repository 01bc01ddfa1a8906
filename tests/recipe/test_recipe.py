"""The recipe language: what it accepts, and how it refuses."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from danlu.core.component import components
from danlu.core.tables import TABLES
from danlu.errors import ArgumentError, RecipeError
from danlu.recipe.load import builtin_recipes, check_recipe, dump_recipe, load_recipe
from danlu.recipe.schema import Recipe, json_schema
from danlu.training.optimizers.options import SGD, AdamW
from danlu.training.schedules import Cosine
from tests.conftest import DANLU, Command
from tests.support.warm import LIGHT, program

WRONG = """\
name: churn
sead: 3
data:
  source: churn.csv
  targett: churned
  scale: standrd
  split: {test: 2}
training:
  epochs: ten
  optimizer: {name: adamw, lr: -1}
  schedule: {cosine: {warmupp: 0.1}}
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        check_recipe(values)
    return str(caught.value)


def test_all_problems_are_told_at_once_with_line_key_value_and_nearest_name(tmp_path: Path) -> None:
    path = write(tmp_path, WRONG)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{path}:{n}" for n in (2, 5, 6, 7, 9, 10, 11)]
    assert 'sead: unknown key; the nearest is "seed"' in lines[0]
    assert 'data.targett: unknown key; the nearest is "target"' in lines[1]
    assert "data.scale: unknown name 'standrd'; the nearest is \"standard\" (allowed: standard, minmax" in lines[2]
    assert "data.split.test: must be less than 1, got 2" in lines[3]
    assert "training.epochs: must be a valid integer" in lines[4]
    assert "got 'ten'" in lines[4]
    assert "training.optimizer.lr: must be greater than 0, got -1" in lines[5]
    assert 'training.schedule.cosine.warmupp: unknown key; the nearest is "warmup"' in lines[6]


def test_a_mapping_that_could_have_been_a_number_is_refused_for_what_is_wrong_in_it() -> None:
    said = refusal({"data": {"source": "a.csv"}, "evaluation": {"folds": {"fold": 3}}})
    assert said.splitlines() == [
        'recipe: evaluation.folds.fold: unknown key; the nearest is "folds" (allowed: folds, repeats, stratified, '
        "grouped, column, processes, final)"
    ]
    said = refusal({"data": {"source": "a.csv"}, "evaluation": {"folds": {"column": "fold", "repeats": 2}}})
    assert said == "recipe: evaluation.folds: column names each row's fold, so repeats has no effect; remove it"


def test_a_bare_path_as_a_model_is_told_how_its_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for path in ("tiny", "./tiny", "weights/tiny.gguf"):
        said = refusal({"data": {"source": "a.csv"}, "model": path})
        assert f"model: unknown name '{path}'; a folder of transformers or a GGUF file is named as hf:{path};" in said
    assert "hf:" not in refusal({"data": {"source": "a.csv"}, "model": "lineal"}).replace("hf,", "")


def test_the_command_refuses_a_recipe_with_exit_code_2_and_no_traceback(tmp_path: Path, danlu: Command) -> None:
    done = danlu("run", write(tmp_path, WRONG), cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 7
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_yaml_is_read_as_1_2(tmp_path: Path) -> None:
    text = "name: no\ndata: {source: a.csv, target: on}\ntraining: {optimizer: {lr: 1e-3}}\n"
    recipe = load_recipe(write(tmp_path, text))
    assert (recipe.name, recipe.data.target) == ("no", "on")
    assert isinstance(recipe.training.optimizer, AdamW)
    assert recipe.training.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    "written",
    ["sgd", {"sgd": {}}, {"name": "sgd"}, {"sgd": {"momentum": 0.9}}, {"name": "sgd", "momentum": 0.9}],
)
def test_a_component_may_be_written_in_three_ways(written: Any) -> None:
    recipe = check_recipe({"data": {"source": "a.csv"}, "training": {"optimizer": written}})
    assert recipe.training.optimizer == SGD(momentum=0.9)


def test_a_single_option_goes_without_its_name() -> None:
    recipe = check_recipe({"data": {"source": "a.csv", "split": {"by": {"group": "user"}}}})
    assert recipe.data.split.by is not None
    assert recipe.data.split.by.model_dump() == {"name": "group", "column": "user"}


def test_set_overrides_any_key(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {source: a.csv}\ntraining: {optimizer: sgd, epochs: 3}\n")
    recipe = load_recipe(
        path, overrides=["training.optimizer.lr=3e-4", "training.epochs=7", "data.scale=minmax", "seed=5"]
    )
    assert recipe.training.optimizer == SGD(lr=3e-4)
    assert (recipe.training.epochs, recipe.seed, recipe.data.scale.name) == (7, 5, "minmax")


def test_set_names_itself_as_the_place_of_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "data: {source: a.csv}\n")
    with pytest.raises(
        RecipeError, match=r"--set training\.epochs=-1: training\.epochs: must be greater than 0, got -1"
    ):
        load_recipe(path, overrides=["training.epochs=-1"])
    with pytest.raises(RecipeError, match=r"is not `key\.path=value`"):
        load_recipe(path, overrides=["training.epochs"])


def test_extends_lays_a_recipe_over_others(tmp_path: Path) -> None:
    write(
        tmp_path, "seed: 1\ndata: {source: base.csv, scale: robust}\ntraining: {epochs: 2, batch_size: 4}\n", "a.yaml"
    )
    write(tmp_path, "seed: 2\ntraining: {optimizer: {name: sgd, momentum: 0.5}}\n", "b.yaml")
    path = write(tmp_path, "extends: [a.yaml, b.yaml]\ntraining: {epochs: 9}\n")
    recipe = load_recipe(path)
    assert (recipe.seed, recipe.training.epochs, recipe.training.batch_size) == (2, 9, 4)
    assert recipe.training.optimizer == SGD(momentum=0.5)
    assert recipe.data.source == str(tmp_path / "base.csv")


def test_a_component_of_another_name_replaces_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, "data: {source: a.csv}\ntraining: {optimizer: {name: sgd, momentum: 0.5}}\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\ntraining: {optimizer: {name: adamw, weight_decay: 0.1}}\n")
    assert load_recipe(path).training.optimizer == AdamW(weight_decay=0.1)


def test_an_error_in_an_extended_recipe_names_its_file(tmp_path: Path) -> None:
    base = write(tmp_path, "data:\n  source: a.csv\n  scalee: none\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\n")
    with pytest.raises(RecipeError, match=rf"{base}:3: data\.scalee"):
        load_recipe(path)


def test_a_recipe_cannot_extend_itself(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml\ndata: {source: a.csv}\n", "a.yaml")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: [1, 2\n", "is not YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("data: {source: a.csv}\ndata: {source: b.csv}\n", "is not YAML"),
        ("name: x\n", "data: is required"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))


def test_an_unknown_recipe_names_the_nearest_built_in() -> None:
    with pytest.raises(RecipeError, match='the nearest is "breast-cancer"'):
        load_recipe("brest-cancer")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"training": {"early_stopping": "none"}},
            r"training\.early_stopping: must be a section with keys of metric, ",
        ),
        ({"training": 3}, r"training: must be a section with keys of epochs, .* …, got 3"),
        ({"data": "a.csv"}, "data: must be a section with keys of source, "),
    ],
)
def test_a_section_that_is_no_section_is_refused_with_its_keys(section: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        check_recipe({"data": {"source": "a.csv"}, **section})
    assert caught.value.code == "DL108" and "dictionary" not in str(caught.value)


def test_recipes_of_earlier_runs_have_an_empty_list_of_pictures() -> None:
    assert check_recipe({"data": {"source": "a.csv"}, "visualization": []}).visualization is None


def test_a_split_must_leave_rows_to_train_on() -> None:
    assert "leave nothing to train on" in refusal({"data": {"source": "a", "split": {"validation": 0.6, "test": 0.5}}})


@pytest.mark.training
def test_a_resolved_recipe_loads_back_to_itself(table_run: Path) -> None:
    recipe = load_recipe(table_run / "recipe.yaml")
    assert check_recipe(recipe.model_dump(mode="json")) == recipe
    assert recipe.model is not None
    assert recipe.training.batch_size == 32
    assert recipe.data.split.by is not None
    first, _, written = (table_run / "recipe.yaml").read_text().partition("\n")
    assert first.startswith("# The recipe of a run") and dump_recipe(recipe) == written


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load_recipe("wine")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_are_right(name: str) -> None:
    assert isinstance(load_recipe(name), Recipe)


@pytest.mark.training
def test_the_schema_is_made_from_the_tables() -> None:
    import jsonschema

    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    text = str(schema)
    for kind in TABLES:
        for name, component in components(kind).items():
            assert component.__name__ in text, name
    jsonschema.validate({"data": {"source": "a.csv"}, "training": {"optimizer": {"name": "adamw", "lr": 0.1}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"data": {"source": "a.csv"}, "sead": 1}, schema)


def test_every_component_is_listed_under_its_own_name() -> None:
    for kind in TABLES:
        for name, component in components(kind).items():
            field = component.model_fields["name"]
            assert field.default == name or f"^{name}:" in str(field.metadata), (kind, name)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["danlu.core.component", "danlu.recipe.schema", "danlu.cli.main", "danlu"])
def test_the_registry_is_complete_whatever_is_imported_first(entry: str) -> None:
    imported = (
        f"import sys, {entry}; from danlu.core.component import components; from danlu.core.tables import TABLES; "
        "print(len(TABLES), all(components(kind) for kind in TABLES), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(TABLES)), "True", "False"]


@pytest.mark.training
@pytest.mark.parametrize("source", ["a file", "builtin:wine"])
def test_nothing_heavy_is_imported_to_check_a_recipe(source: str, table_file: Path, tmp_path: Path) -> None:
    read = table_file if source == "a file" else source
    recipe = write(tmp_path, f"data: {{source: '{read}', target: cultivar}}\n")
    code = (
        "import sys, danlu; danlu.check(sys.argv[1]); "
        "print(sorted({'torch', 'sklearn', 'transformers', 'timm', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )
    done = program(code, recipe, forks=LIGHT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.training
@pytest.mark.parametrize(
    "call",
    [
        "danlu.run({'data': {'source': 'builtin:wine', 'target': 'cultivar'}, 'trainng': {}})",
        "danlu.run({'data': {'source': 'nowhere.csv', 'target': 'cultivar'}})",
        "danlu.train({'data': {'source': 'nowhere.csv', 'target': 'cultivar'}})",
        "danlu.evaluate('nowhere')",
        "danlu.predict('nowhere', 'builtin:wine')",
    ],
)
def test_a_refusal_does_not_wait_for_torch(call: str, tmp_path: Path) -> None:
    code = (
        "import sys, danlu\nfrom danlu.errors import DanluError\n"
        f"try: {call}\nexcept DanluError: print('torch' in sys.modules)"
    )
    done = program(code, cwd=tmp_path, forks=LIGHT)
    assert done.stdout.strip() == "False", done.stderr


def test_importing_danlu_imports_nothing_else() -> None:
    code = "import sys, danlu; print('pydantic' in sys.modules, 'polars' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_every_verb_is_a_function_of_the_same_name() -> None:
    for verb in ("train", "resume", "plan", "evaluate", "predict", "run", "check", "new", "runs", "doctor", "load"):
        assert callable(getattr(package, verb))


@pytest.mark.parametrize("verb", ["train", "run", "check", "plan", "tune", "visualize", "load_recipe"])
@pytest.mark.parametrize("recipe", [3, None, ["wine"]])
def test_a_recipe_of_another_type_is_refused(verb: str, recipe: object) -> None:
    with pytest.raises(ArgumentError, match=r"^(recipe|source): cannot take .*; give a .*(path|file)") as caught:
        getattr(package, verb)(recipe)
    assert caught.value.code == "DL402"


def test_what_cannot_be_visualized_is_named_with_the_nearest(tmp_path: Path) -> None:
    only: Any = "augmnt"
    with pytest.raises(ArgumentError, match="only: 'augmnt' cannot be shown; the nearest is \"augment\"") as caught:
        package.visualize("wine", only=only, output=tmp_path / "page.html")
    assert caught.value.code == "DL402"


def test_naming_a_recipe_otherwise_keeps_all_else(tmp_path: Path) -> None:
    base = write(tmp_path, "name: base\ndata: {source: a.csv}\ntraining: {epochs: 2}\n", "base.yaml")
    path = write(tmp_path, "name: child\nextends: base.yaml\nseed: 3\n")
    for recipe in (load_recipe(path), load_recipe(base, overrides=["name=child", "seed=3"])):
        assert (recipe.name, recipe.seed, recipe.training.epochs) == ("child", 3, 2)


@pytest.mark.slow
@pytest.mark.training
def test_other_packages_add_components_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "stairs.py").write_text(
        "from typing import Literal\n"
        "from danlu.training.schedules import Schedule\n"
        "class Stairs(Schedule):\n"
        "    name: Literal['stairs'] = 'stairs'\n"
        "    steps: int = 4\n"
        "    def factor(self, step: int, steps: int) -> float:\n"
        "        return 1 - step * self.steps // steps / self.steps\n"
    )
    distribution = tmp_path / "stairs-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: stairs\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[danlu.schedule]\nstairs = stairs:Stairs\ncosine = stairs:Stairs\n")
    settings = ["--set", "training.schedule={stairs: {steps: 3}}", "--set", "training.epochs=2"]
    done = subprocess.run(
        [DANLU, "train", "wine", "-o", str(tmp_path / "runs"), "--name", "r", *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
    )
    assert done.returncode == 0, done.stderr
    assert "name: stairs" in (tmp_path / "runs" / "r" / "recipe.yaml").read_text()
    assert load_recipe("wine", overrides=["training.schedule=cosine"]).training.schedule.__class__ is Cosine


@pytest.mark.parametrize(
    ("values", "sections", "message", "code"),
    [
        ((), {"data": 3}, "Recipe: data: ", "DL108"),
        ((), {}, "Recipe: data: Field required", "DL106"),
        ((), {"data": {"source": "a.csv"}, "sead": 3}, "Recipe: sead: ", "DL105"),
        (({"source": "a.csv"},), {}, "sections are given by name", "DL108"),
    ],
)
def test_a_recipe_made_in_python_is_refused_by_danlus_own_error(
    values: tuple[Any, ...], sections: dict[str, Any], message: str, code: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe(*values, **sections)
    assert caught.value.code == code
