"""Balancing of classes: what each method does to the training split, what the loss makes of it, and nothing else."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

import danlu as package
from danlu.core.seeds import Seed
from danlu.data.balance.apply import BalancedTraining, balance
from danlu.data.balance.base import Balancer
from danlu.data.balance.loss_weights import ClassWeights, Focal, LogitAdjustment
from danlu.data.balance.registry import BALANCERS
from danlu.data.balance.resampling import Oversample, Undersample, WeightedSampling
from danlu.data.balance.synthetic import (
    Adasyn,
    BorderlineSmote,
    EditedNearestNeighbours,
    Smote,
    SmoteEnn,
    SmoteTomek,
    Tomek,
)
from danlu.data.loader import PreparedDataset, TensorColumn, number_repeats
from danlu.errors import DataError, RecipeError
from danlu.tasks.classification import classification_loss
from danlu.tasks.loss_weighting import LossWeighting
from tests.support.warm import LIGHT, program

LABELS = ("red", "rosé", "white")
COUNTS = (59, 24, 9)


def wine(categories: bool = False, numbers: bool = True, counts: tuple[int, ...] = COUNTS) -> PreparedDataset:
    """Standardised wines, fewer of each further cultivar; two columns cut into words where categories are wanted."""
    data, cultivar = load_wine(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(cultivar == code)[:count] for code, count in enumerate(counts)])
    rows = np.random.default_rng(0).permutation(rows)
    values = StandardScaler().fit_transform(data[rows]).astype(np.float32)
    features = [TensorColumn("numeric", torch.from_numpy(values[:, 2:]))] if numbers else []
    if categories:
        codes = np.digitize(values[:, :2], [-1.0, 0.0, 1.0]) + 2
        features.append(TensorColumn("categories", torch.from_numpy(codes)))
    return PreparedDataset(tuple(features), torch.from_numpy(cultivar[rows]))


def column(examples: PreparedDataset, name: str) -> np.ndarray:
    return next(f.values.numpy() for f in examples.columns if isinstance(f, TensorColumn) and f.name == name)


def codes(examples: PreparedDataset) -> np.ndarray:
    assert examples.target is not None
    return examples.target.numpy()


def taken(balanced: BalancedTraining, epoch: int) -> np.ndarray:
    """The real rows of an epoch."""
    return balanced.loader.order(epoch) % len(balanced.loader.dataset)


def balanced_wine(balancer: Balancer, seed: int = 0, **options: Any) -> BalancedTraining:
    return balance(balancer, wine(**options), LABELS, Seed(seed))


# Synthetic rows


def lies_between(row: np.ndarray, others: np.ndarray) -> bool:
    """Whether a row lies on a straight line between two of the others."""
    offsets = others - row
    lengths = np.linalg.norm(offsets, axis=1)
    if lengths.min() < 1e-5:
        return True
    directions = offsets / lengths[:, None]
    return bool((directions @ directions.T).min() < -1 + 1e-5)


@given(st.integers(1, 8), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 2**62))
@settings(max_examples=8, deadline=None)
def test_smote_adds_rows_between_two_real_ones_of_the_class(neighbors: int, ratio: float, seed: int) -> None:
    before = wine()
    after = balanced_wine(Smote(neighbors=neighbors, ratio=ratio), seed).loader.dataset
    real, classes = column(before, "numeric"), codes(before)
    assert np.bincount(codes(after)).tolist() == [max(count, round(59 * ratio)) for count in COUNTS]
    assert np.array_equal(column(after, "numeric")[: len(before)], real)
    assert np.array_equal(codes(after)[: len(before)], classes)
    for row, code in zip(column(after, "numeric")[len(before) :], codes(after)[len(before) :], strict=True):
        assert lies_between(row, real[classes == code])


@pytest.mark.parametrize("numbers", [True, False])
@given(seed=st.integers(0, 2**62))
@settings(max_examples=5, deadline=None)
def test_synthetic_categories_are_ones_that_the_class_has(numbers: bool, seed: int) -> None:
    before = wine(categories=True, numbers=numbers)
    after = balanced_wine(Smote(), seed, categories=True, numbers=numbers).loader.dataset
    known, classes = column(before, "categories"), codes(before)
    assert len(after) == 3 * 59
    assert column(after, "categories").dtype == np.int64
    for row, code in zip(column(after, "categories")[len(before) :], codes(after)[len(before) :], strict=True):
        for position, value in enumerate(row):
            assert value in known[classes == code, position]


def test_borderline_smote_and_adasyn_add_rows_to_the_smaller_classes_alone() -> None:
    for balancer in (BorderlineSmote(), Adasyn()):
        found = balanced_wine(balancer)
        assert found.after[0] == 59
        assert found.after.sum() > found.before.sum()
        assert (found.after >= found.before).all()


def mixed_up(examples: PreparedDataset) -> PreparedDataset:
    """The first two numbers alone, as the cultivars lie among one another there."""
    return PreparedDataset(
        (TensorColumn("numeric", torch.from_numpy(column(examples, "numeric")[:, :2])),), examples.target
    )


@pytest.mark.parametrize("balancer", [Tomek(), EditedNearestNeighbours()])
def test_cleaning_takes_away_rows_of_larger_classes_alone(balancer: Balancer) -> None:
    before = mixed_up(wine())
    found = balance(balancer, before, LABELS, Seed(0))
    assert found.after[2] == 9
    assert 9 < found.after.sum() < 92
    numbers, classes = column(before, "numeric"), codes(before)
    real = {(row.tobytes(), code) for row, code in zip(numbers, classes.tolist(), strict=True)}
    left = found.loader.dataset
    assert {(r.tobytes(), c) for r, c in zip(column(left, "numeric"), codes(left).tolist(), strict=True)} <= real


@pytest.mark.parametrize("balancer", [SmoteTomek(), SmoteEnn()])
def test_smote_with_cleaning_keeps_some_of_the_rows_of_smote(balancer: Balancer) -> None:
    grown, cleaned = (balance(method, mixed_up(wine()), LABELS, Seed(0)) for method in (Smote(), balancer))
    known = {row.tobytes() for row in column(grown.loader.dataset, "numeric")}
    assert all(row.tobytes() in known for row in column(cleaned.loader.dataset, "numeric"))
    assert 27 < cleaned.after.sum() < grown.after.sum()


def test_rows_that_differ_in_categories_lie_apart() -> None:
    """Two columns of codes tell the classes apart, numbers do not: nothing is cleaned away."""
    classes = np.repeat([0, 1], [40, 10])
    shared = np.random.default_rng(0).normal(scale=0.1, size=(50, 1)).astype(np.float32)
    same = PreparedDataset((TensorColumn("numeric", torch.from_numpy(shared)),), torch.from_numpy(classes))
    apart = PreparedDataset(
        (*same.columns, TensorColumn("categories", torch.from_numpy(classes[:, None] + 2))), same.target
    )
    assert balance(EditedNearestNeighbours(), apart, ("a", "b"), Seed(0)).after.tolist() == [40, 10]
    assert balance(EditedNearestNeighbours(), same, ("a", "b"), Seed(0)).after[0] < 40


@pytest.mark.parametrize("name", [name for name in BALANCERS if name != "none"])
def test_the_same_seed_gives_the_same_rows_in_the_same_order(name: str) -> None:
    balancer = BALANCERS[name].model_validate({"name": name})
    assert isinstance(balancer, Balancer)
    first, again = balanced_wine(balancer, 7), balanced_wine(balancer, 7)
    assert torch.equal(first.loader.dataset.columns[0].values, again.loader.dataset.columns[0].values)  # type: ignore[attr-defined]
    assert np.array_equal(first.loader.order(3), again.loader.order(3))
    other = balanced_wine(balancer, 8)
    assert not np.array_equal(first.loader.order(3), other.loader.order(3))
    assert len(first.loader.order(0)) == len(first.loader.order(3)) == first.loader.epoch_length


def test_another_seed_gives_other_synthetic_rows() -> None:
    rows = [column(balanced_wine(Smote(), seed).loader.dataset, "numeric") for seed in (1, 2)]
    assert not np.array_equal(rows[0], rows[1])


# Rows drawn more or less often


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.sampled_from([0.25, 0.5, 1.0]), st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_oversampling_repeats_every_row_of_a_class_alike(sizes: list[int], ratio: float, seed: int) -> None:
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = Oversample(ratio=ratio).order(classes, Seed(seed))(0)
    times = np.bincount(rows % len(classes), minlength=len(classes))
    wanted = [max(size, round(ratio * max(sizes))) for size in sizes]
    assert np.bincount(classes[rows % len(classes)]).tolist() == wanted
    for code in range(len(sizes)):
        assert times[classes == code].min() >= 1
        assert np.ptp(times[classes == code]) <= 1


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.sampled_from([0.25, 0.5, 1.0]), st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_undersampling_takes_no_row_twice_and_no_class_too_often(sizes: list[int], ratio: float, seed: int) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes)
    rows = Undersample(ratio=ratio).order(classes, Seed(seed))(0)
    assert len(set(rows.tolist())) == len(rows)
    assert np.bincount(classes[rows]).tolist() == [min(size, round(min(sizes) / ratio)) for size in sizes]


def test_undersampling_sees_all_rows_in_the_course_of_training() -> None:
    found = balanced_wine(Undersample())
    seen = np.unique(np.concatenate([taken(found, epoch) for epoch in range(60)]))
    assert len(seen) == 92
    assert len(taken(found, 0)) == 27


def test_weighted_sampling_draws_classes_alike_often() -> None:
    classes = np.repeat([0, 1, 2], [700, 250, 50])
    roots = np.sqrt([700, 250, 50])
    for power, shares in ((0.0, [0.7, 0.25, 0.05]), (0.5, roots / roots.sum()), (1.0, [1 / 3] * 3)):
        order = WeightedSampling(power=power).order(classes, Seed(4))
        drawn = np.concatenate([order(epoch) % 1000 for epoch in range(40)])
        found = np.bincount(classes[drawn]) / len(drawn)
        assert found == pytest.approx(shares, abs=0.012)  # five standard errors
    within = np.bincount(drawn[classes[drawn] == 2] - 950, minlength=50)
    assert within.min() > 0.5 * within.mean()


def test_weighted_sampling_draws_anew_each_epoch() -> None:
    order = WeightedSampling().order(np.repeat([0, 1], [50, 10]), Seed(4))
    assert order(0).tolist() != order(1).tolist()
    assert order(1).tolist() == order(1).tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_repeated_rows_have_numbers_of_their_own(rows: list[int]) -> None:
    apart = number_repeats(np.array(rows), 10)
    assert (apart % 10).tolist() == rows
    assert len(set(apart.tolist())) == len(rows)
    for position, number in enumerate(apart.tolist()):
        assert number // 10 == rows[:position].count(rows[position])


def test_a_batch_of_repeated_rows_holds_the_rows_themselves() -> None:
    found = balanced_wine(Oversample())
    batch = next(found.loader.batches(found.loader.epoch_length, torch.device("cpu")))
    rows = batch.rows % 92
    assert len(set(batch.rows.tolist())) == found.loader.epoch_length == 3 * 59
    assert np.array_equal(batch.inputs["numeric"].numpy(), column(wine(), "numeric")[rows])
    assert np.array_equal(batch.target.numpy(), codes(wine())[rows])


# The loss


def reference(logits: np.ndarray, target: np.ndarray, emphasis: LossWeighting) -> float:
    """The loss as the papers write it, sample by sample and class by class."""
    total = 0.0
    for scores, answer in zip(logits.astype(np.float64), target, strict=True):
        shares = answer if target.ndim == 2 else np.eye(len(scores))[answer]
        shifted = scores + np.array(emphasis.logit_offsets or (0.0,))
        chances = np.exp(shifted - shifted.max())
        chances /= chances.sum()
        terms = -((1 - chances) ** emphasis.focal_gamma) * np.log(chances)
        weights = emphasis.class_weights or (1.0,) * len(scores)
        for code, share in enumerate(shares):
            smooth = (1 - emphasis.smoothing) * terms[code] + emphasis.smoothing * terms.mean()
            total += share * weights[code] * smooth
    return total


@given(
    st.booleans(),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([None, (0.5, 1.0, 3.0)]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([None, (-0.2, -1.5, -4.0)]),
    st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_the_loss_is_that_of_the_papers_in_every_combination(
    mixed: bool,
    smoothing: float,
    weights: tuple[float, ...] | None,
    gamma: float,
    offsets: tuple[float, ...] | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(6, 3)).astype(np.float32)
    target = rng.dirichlet([0.5] * 3, 6).astype(np.float32) if mixed else rng.integers(0, 3, 6)
    emphasis = LossWeighting(smoothing, weights, gamma, offsets)
    loss, count = classification_loss(torch.from_numpy(logits), torch.from_numpy(target), emphasis)
    assert count == 6
    assert float(loss) == pytest.approx(reference(logits, target, emphasis), rel=1e-4)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_the_focal_loss_of_a_certain_answer_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]], requires_grad=True)
    loss, _ = classification_loss(logits, torch.tensor([0, 0, 1]), LossWeighting(focal_gamma=gamma))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().sum() > 0.5  # a wrong answer still pulls


@given(st.lists(st.integers(1, 100_000), min_size=2, max_size=10), st.sampled_from([0.0, 0.9, 0.999, 0.9999]))
@settings(max_examples=60, deadline=None)
def test_class_weights_have_a_mean_of_one_over_the_samples(sizes: list[int], beta: float) -> None:
    counts = np.array(sizes)
    for method in ("inverse-frequency", "effective-number"):
        weights = np.array(ClassWeights(method=method, beta=beta).loss_weighting(counts).class_weights)
        assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
        assert (np.diff(weights[np.argsort(counts)]) <= 1e-9).all()


def test_inverse_frequency_is_scikit_learns_balanced() -> None:
    answers = np.repeat([0, 1, 2], [50, 30, 3])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=answers)
    assert ClassWeights().loss_weighting(np.bincount(answers)).class_weights == pytest.approx(expected)


def test_the_effective_number_is_that_of_the_paper() -> None:
    weights = ClassWeights(method="effective-number", beta=0.99).loss_weighting(np.array([500, 10])).class_weights
    assert weights is not None
    effective = [(1 - 0.99**count) / (1 - 0.99) for count in (500, 10)]
    assert weights[1] / weights[0] == pytest.approx(effective[0] / effective[1])


def test_logit_offsets_are_tau_times_the_log_prior() -> None:
    offsets = LogitAdjustment(tau=0.5).loss_weighting(np.array([75, 25])).logit_offsets
    assert offsets == pytest.approx([0.5 * np.log(0.75), 0.5 * np.log(0.25)])


def test_focal_weighs_classes_when_asked() -> None:
    assert Focal().loss_weighting(np.array([9, 1])) == LossWeighting(focal_gamma=2.0)
    weighed = Focal(gamma=1.0, alpha="inverse-frequency").loss_weighting(np.array([9, 1]))
    assert weighed.class_weights == pytest.approx((10 / 18, 5.0))


# Through the recipe


def cells(columns: tuple[int, ...] = (0, 1, 4, 21), malignant: int = 40) -> pl.DataFrame:
    """Breast cancer with few malignant rows."""
    data = load_breast_cancer()
    names = [str(data.feature_names[index]).replace(" ", "_") for index in columns]
    frame = pl.DataFrame(data.data[:, columns], schema=names)
    frame = frame.with_columns(pl.Series("tumour", np.where(data.target == 0, "malignant", "benign")))
    rare, usual = frame.filter(pl.col("tumour") == "malignant"), frame.filter(pl.col("tumour") == "benign")
    return pl.concat([usual, rare.head(malignant)]).sample(fraction=1.0, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def cells_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    cells().write_csv(path)
    return path


def recipe(source: Path, method: Any, **training: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(source), "target": "tumour", "balance": method},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 2, **training},
        "evaluation": {"baselines": False},
    }


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("method", [name for name in BALANCERS if name != "none"])
def test_every_method_runs_from_the_recipe_and_leaves_the_test_split_alone(
    method: str, cells_file: Path, tmp_path: Path
) -> None:
    run = package.run(recipe(cells_file, method), output=tmp_path)
    target = read(run.path / "data" / "profile.json")["target"]
    counts, balanced = target["classes"], target["balanced"]
    for label, figures in balanced["classes"].items():
        assert figures["before"] == counts[label]["train"]
        assert figures["after"] > 0
    test = run.evaluation()["test"]
    supports = {label: figures["support"] for label, figures in test["classes"].items()}
    assert supports == {label: parts["test"] for label, parts in counts.items()}
    assert 0 <= test["auroc"]["value"] <= 1
    rows = pl.read_parquet(run.path / "predictions" / "test.parquet")
    assert rows.height == sum(supports.values())
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "<h3>Balancing</h3>" in page
    assert balanced["effect"].partition("'")[0] in page


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("method", ["class-weights", "oversample"])
def test_the_validation_loss_counts_every_sample_alike(method: str, cells_file: Path, tmp_path: Path) -> None:
    run = package.run(recipe(cells_file, method), output=tmp_path)
    answers = pl.read_parquet(run.path / "predictions" / "validation.parquet")
    truth = pl.read_csv(cells_file)["tumour"][answers["row"].to_list()].to_list()
    chances = [answers[f"probability_{label}"][position] for position, label in enumerate(truth)]
    expected = -np.mean(np.log(chances))
    best = min(line["validation/loss"] for line in run.metrics() if "validation/loss" in line)
    assert best == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.training
def test_the_report_shows_the_classes_before_and_after(cells_file: Path, tmp_path: Path) -> None:
    pages = {
        method: (package.run(recipe(cells_file, method), output=tmp_path).path / "report.html").read_text("utf-8")
        for method in ("smote", "class-weights", "none")
    }
    assert "before and after balancing: benign 249 to 249, malignant 28 to 249" in pages["smote"]
    assert "Weight in the loss" in pages["class-weights"]
    assert "4.946" in pages["class-weights"]
    assert "before and after balancing:" not in pages["class-weights"]  # the counts did not change: nothing to draw
    assert "Balancing" not in pages["none"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["smote", "smote-tomek", "adasyn", "oversample", "class-weights", "logit-adjustment"]
)
def test_validation_and_test_rows_cannot_change_what_is_trained(method: str, tmp_path: Path) -> None:
    frame = cells().with_columns(pl.Series("part", np.resize(["train", "train", "validation", "test"], cells().height)))
    numbers, held_back = pl.col(pl.Float64), pl.col("part") != "train"
    other = pl.when(held_back & (pl.col("tumour") == "benign") & (pl.int_range(pl.len()) % 3 == 0)).then(
        pl.lit("malignant")
    )
    changed = frame.with_columns(
        pl.when(held_back).then(numbers * -3 + 7).otherwise(numbers).name.keep(),
        other.otherwise("tumour").alias("tumour"),
    )
    weights = []
    for name, table in (("as-it-is", frame), ("changed", changed)):
        table.write_csv(tmp_path / f"{name}.csv")
        options = recipe(tmp_path / f"{name}.csv", method)
        options["data"]["split"] = {"by": {"column": "part"}}
        run = package.train(options, output=tmp_path, name=name)
        last = sorted((run.path / "checkpoints").glob("step-*"))[-1]
        weights.append((last / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["oversample", "weighted-sampling", "class-weights", {"focal": {"gamma": 1.0}}])
def test_images_are_balanced_too(method: Any, image_recipe: dict[str, Any], tmp_path: Path) -> None:
    source = Path(image_recipe["data"]["source"])
    for folder in sorted(source.iterdir()):
        kept = sorted(folder.iterdir())[: 12 if folder.name == "digit-3" else 40]
        for file in kept:
            target = tmp_path / "images" / folder.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    run = package.train(
        {
            **image_recipe,
            "data": {"source": str(tmp_path / "images"), "balance": method},
            "training": {"epochs": 1, "batch_size": 32},
        },
        output=tmp_path,
    )
    found = read(run.path / "data" / "profile.json")["target"]["balanced"]["classes"]["digit-3"]
    assert found["before"] == 8
    if method == "oversample":
        assert found["after"] == 28


@pytest.mark.slow
@pytest.mark.training
def test_texts_are_balanced_too(text_recipe: dict[str, Any], tmp_path: Path) -> None:
    frame = pl.read_ndjson(text_recipe["data"]["source"])
    era = frame["era"][0]
    few = pl.concat([frame.filter(pl.col("era") == era).head(12), frame.filter(pl.col("era") != era).head(60)])
    few.write_ndjson(tmp_path / "few.jsonl")
    data = {**text_recipe["data"], "source": str(tmp_path / "few.jsonl"), "balance": "oversample"}
    run = package.train({**text_recipe, "data": data, "training": {"epochs": 1, "batch_size": 16}}, output=tmp_path)
    classes = read(run.path / "data" / "profile.json")["target"]["balanced"]["classes"]
    assert [figures["after"] for figures in classes.values()] == [42, 42]
    assert classes[era]["before"] == 8


@pytest.mark.slow
def test_a_dry_run_of_smote_has_the_neighbours_that_the_whole_run_has(cells_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "danlu", "run", "recipe.yaml", "--dry-run"]
    text = f"data: {{source: {cells_file}, target: tumour, balance: smote}}\ntraining: {{batch_size: 16}}\n"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.training
def test_checking_a_balanced_recipe_imports_neither_torch_nor_imbalanced_learn(cells_file: Path) -> None:
    code = (
        "import sys, danlu\n"
        f"danlu.check({recipe(cells_file, 'smote')!r})\n"
        "print(sorted({'torch', 'imblearn', 'sklearn'} & set(sys.modules)))"
    )
    done = program(code, forks=LIGHT)
    assert done.stdout.strip() == "[]", done.stderr


HELPFUL = ("class-weights", "oversample", "undersample", "weighted-sampling", "smote", "borderline-smote", "adasyn")
ALSO_HELPFUL = ("smote-tomek", "smote-enn", "logit-adjustment", {"focal": {"alpha": "inverse-frequency"}})


@pytest.mark.slow
def test_methods_that_shift_the_classes_find_more_of_the_rare_one_and_rank_as_well(tmp_path: Path) -> None:
    # Two weak columns: a model that makes few errors hardly ever answers "malignant".
    cells((1, 4), malignant=50).write_csv(tmp_path / "weak.csv")

    def figures(method: Any) -> tuple[float, float]:
        options = recipe(tmp_path / "weak.csv", method, epochs=15, batch_size=32, optimizer={"lr": 5e-3})
        options["data"]["split"] = {"test": 0.4}
        test = package.run(options, output=tmp_path, name="run", overwrite=True).evaluation()["test"]
        return test["balanced-accuracy"]["value"], test["auroc"]["value"]

    nothing, ranked = figures("none")
    found = {str(method): figures(method) for method in (*HELPFUL, *ALSO_HELPFUL)}
    assert {method: pair for method, pair in found.items() if pair[0] < nothing + 0.1} == {}, nothing
    assert {method: pair for method, pair in found.items() if pair[1] < ranked - 0.1} == {}, ranked


# Bad input


def test_a_class_with_too_few_samples_for_its_neighbours_is_named() -> None:
    with pytest.raises(DataError) as refused:
        balanced_wine(Smote(), counts=(59, 24, 4))
    message = str(refused.value)
    assert "class 'white' has 4 training sample(s); smote with 5 neighbors needs at least 6" in message
    assert "data.balance.neighbors to at most 3" in message
    assert balanced_wine(Smote(neighbors=3), counts=(59, 24, 4)).after.tolist() == [59, 59, 59]
    with pytest.raises(DataError, match=r"has 1 training sample.*gather more samples"):
        balanced_wine(Smote(neighbors=1), counts=(59, 24, 1))


@pytest.mark.slow
@pytest.mark.training
def test_too_few_samples_are_told_on_the_command_line(tmp_path: Path, danlu: Callable[..., Any]) -> None:
    cells(malignant=5).write_csv(tmp_path / "few.csv")
    text = "data: {source: few.csv, target: tumour, balance: smote}\n"
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    done = danlu("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 3
    assert "class 'malignant' has 3 training sample(s)" in done.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_methods_for_numbers_refuse_categories() -> None:
    for balancer in (Adasyn(), BorderlineSmote()):
        with pytest.raises(DataError, match="2 of the 13 inputs are categories; use smote"):
            balanced_wine(balancer, categories=True)


def test_adasyn_says_when_classes_lie_too_far_apart() -> None:
    numbers = np.concatenate([np.random.default_rng(0).normal(size=(30, 2)), np.full((8, 2), 500.0)]).astype(np.float32)
    numbers[30:] += np.random.default_rng(1).normal(size=(8, 2))
    apart = PreparedDataset((TensorColumn("numeric", torch.from_numpy(numbers)),), torch.tensor([0] * 30 + [1] * 8))
    with pytest.raises(DataError, match=r"adasyn makes no rows here.*use smote"):
        balance(Adasyn(), apart, ("near", "far"), Seed(0))


def test_cleaning_that_would_take_away_a_class_is_refused() -> None:
    places = torch.tensor([-0.1, 0.0, 0.1, 5.0, 5.1, 9.0, 9.1])[:, None]
    among = PreparedDataset((TensorColumn("numeric", places),), torch.tensor([0, 1, 0, 0, 1, 0, 1]))
    with pytest.raises(DataError, match="enn would remove all 4 training samples of class 'many'"):
        balance(EditedNearestNeighbours(neighbors=1), among, ("many", "few"), Seed(0))


def test_inputs_that_are_not_numbers_or_categories_are_refused() -> None:
    pictures = PreparedDataset((TensorColumn("image", torch.zeros(4, 1, 2, 2)),), torch.tensor([0, 0, 0, 1]))
    with pytest.raises(DataError, match="one input is 'image'"):
        balance(Smote(neighbors=1), pictures, ("a", "b"), Seed(0))


def test_balancing_is_refused_where_there_are_no_classes(corpus_recipe: dict[str, Any]) -> None:
    for method in ("oversample", "focal"):
        with pytest.raises(RecipeError, match=f"data.balance: {method} balances classes, and this task is regression"):
            package.check({"data": {"source": "builtin:diabetes", "balance": method}})
        with pytest.raises(RecipeError, match=f"{method} balances classes, and this task is language-modelling"):
            package.check({**corpus_recipe, "data": {**corpus_recipe["data"], "balance": method}})


def test_synthetic_rows_are_refused_for_images(image_recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"smote takes tabular data; .* is image"):
        package.check({**image_recipe, "data": {**image_recipe["data"], "balance": "smote"}})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("smot", "unknown name 'smot'; the nearest is \"smote\""),
        ({"smote": {"neighbors": 0}}, "must be greater than 0"),
        ({"oversample": {"ratio": 1.5}}, "less than or equal to 1"),
        ({"undersample": 0}, "must be greater than 0"),
        ({"class-weights": {"beta": 1.0}}, "less than 1"),
        ({"class-weights": {"method": "inverse"}}, "inverse-frequency"),
        ({"focal": {"gamma": -1}}, "must be greater than 0"),
        ({"weighted-sampling": {"power": 2}}, "less than or equal to 1"),
    ],
)
def test_wrong_options_are_refused(method: Any, message: str, cells_file: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        package.check(recipe(cells_file, method))
    assert "data.balance" in str(refused.value)
    assert message in str(refused.value)
