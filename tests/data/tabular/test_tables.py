"""Tables: cleaning, filling, encoding and choosing features, each as its reference has it, and none of it leaking."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import danlu as package
from danlu.core.seeds import Seed
from danlu.data.balance.registry import BALANCERS
from danlu.data.builtin import read_builtin
from danlu.data.descriptors import DataRequirements, Origin, RawData
from danlu.data.interpret import interpret
from danlu.data.preprocessing import prepare_split, prepare_training
from danlu.data.splits import TrainSplit
from danlu.data.tabular.preprocessor import TabularPreprocessor, training_targets
from danlu.errors import DataError, RecipeError
from danlu.experiment.data_context import DataContext, load_data
from danlu.recipe.load import check_recipe

SEED = Seed(0)


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The diabetes set with a tenth of its values missing, two categories, a split column, and a class to predict."""
    frame = read_builtin("builtin:diabetes").frame
    generator = np.random.default_rng(5)
    names = [name for name in frame.columns if name not in ("progression", "sex")]
    holes = [
        pl.when(pl.Series(generator.random(frame.height) < 0.1)).then(None).otherwise(pl.col(name)).alias(name)
        for name in names
    ]
    target = frame.columns[-1]
    frame = frame.with_columns(holes).with_columns(
        (pl.col(target).rank() / pl.len()).alias("rank"),
        part=pl.Series(np.array(["train", "train", "train", "validation", "test"])[np.arange(frame.height) % 5]),
    )
    frame = frame.with_columns(
        plan=pl.when(pl.col("rank") > 0.6)
        .then(pl.lit("gold"))
        .when(pl.col("rank") > 0.3)
        .then(pl.lit("silver"))
        .otherwise(pl.lit("Silver ")),
        town=pl.Series([("Bonn", "Kyoto", "Lima", None)[i] for i in generator.integers(0, 4, frame.height)]),
        ill=pl.when(pl.col("rank") + pl.Series(generator.normal(0, 0.2, frame.height)) > 0.5)
        .then(pl.lit("yes"))
        .otherwise(pl.lit("no")),
    ).drop("rank", target)
    path = tmp_path_factory.mktemp("tables") / "holed.csv"
    frame.write_csv(path)
    return path


def opened(source: Path, model: str = "linear", **data: Any) -> DataContext:
    target = data.pop("target", "ill")
    recipe = {"data": {"source": str(source), "target": target, **data}, "model": model}
    return load_data(check_recipe(recipe))


def fit(data: DataContext) -> TabularPreprocessor:
    return TabularPreprocessor.fit(data.splits.train, data.dataset, data.recipe.data, DataRequirements(), SEED)


def numbers(preprocessor: TabularPreprocessor, frame: pl.DataFrame) -> np.ndarray:
    return preprocessor.arrays(frame, "the test")[0]


BY_PART = {"split": {"by": {"column": "part"}}, "columns": {"plan": "drop", "town": "drop", "sex": "drop"}}


@pytest.mark.parametrize("strategy", ["median", "mean", "most-frequent", "constant", "knn", "iterative"])
def test_gaps_are_filled_as_scikit_learn_fills_them(holed: Path, strategy: str) -> None:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    data = opened(
        holed, **BY_PART, scale="none", clean={"missing": {"impute": {"strategy": strategy, "constant": 7.5}}}
    )
    preprocessor = fit(data)
    names = [state.column for state in preprocessor.numbers]
    train, test = (part.frame.select(names).to_numpy().astype(float) for part in (data.splits.train, data.splits.test))
    references = {
        "knn": lambda: KNNImputer(n_neighbors=5),
        "iterative": lambda: IterativeImputer(max_iter=10, random_state=0),
        "constant": lambda: SimpleImputer(strategy="constant", fill_value=7.5),
    }
    reference = references.get(strategy, lambda: SimpleImputer(strategy=strategy.replace("-", "_")))().fit(train)
    expected = reference.transform(test)
    assert np.isnan(test).any()
    np.testing.assert_allclose(numbers(preprocessor, data.splits.test.frame), expected, rtol=2e-4, atol=2e-4)


def test_indicators_say_where_a_value_was_missing(holed: Path) -> None:
    data = opened(holed, **BY_PART, clean={"missing": {"impute": {"indicators": True}}})
    preprocessor = fit(data)
    found = numbers(preprocessor, data.splits.test.frame)
    names = [name for name in preprocessor.names if name.endswith(" missing")]
    assert len(names) == len(preprocessor.numbers)
    for name in names:
        expected = data.splits.test.frame[name.removesuffix(" missing")].is_null().to_numpy()
        assert (found[:, preprocessor.names.index(name)] == expected).all()


@pytest.mark.parametrize("scale", ["power", "log1p"])
def test_skewed_columns_become_even(scale: str) -> None:
    from scipy.stats import skew
    from sklearn.preprocessing import PowerTransformer

    generator = np.random.default_rng(0)
    values = np.exp(generator.normal(2, 1.2, 500)) - 1
    target = pl.Series("y", np.array(["a", "b"])[generator.integers(0, 2, 500)])
    source = RawData(pl.DataFrame({"x": values}).with_columns(target), "the test", Path())
    section = check_recipe({"data": {"source": "x.csv", "target": "y", "scale": scale}}).data
    dataset = interpret(source, section)
    train = TrainSplit(np.arange(400), dataset.frame)
    preprocessor = TabularPreprocessor.fit(train, dataset, section, DataRequirements(), SEED)
    found = numbers(preprocessor, dataset.frame)[:, 0]
    assert abs(skew(found)) < 0.3 < abs(skew(values))
    assert abs(found[:400].mean()) < 1e-5
    assert abs(found[:400].std() - 1) < 1e-5
    if scale == "power":
        expected = PowerTransformer().fit(values[:400, None]).transform(values[:, None])[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_target_encoding_is_scikit_learns_and_hides_a_rows_own_answer(holed: Path) -> None:
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import TargetEncoder

    data = opened(holed, split={"by": {"column": "part"}}, encode="target", columns={"sex": "drop"}, model="linear")
    preprocessor = fit(data)
    place = Origin("the test", Path())
    cross = prepare_training(preprocessor, data.splits.train, data.dataset, SEED).columns[0]
    plain = prepare_split(preprocessor, data.splits.train, place).columns[0]
    position = preprocessor.names.index("plan target")
    rows = np.arange(len(data.splits.train))
    mine = cross.take(rows)["numeric"][:, position].numpy()
    assert len(np.unique(mine)) > len(np.unique(plain.take(rows)["numeric"][:, position].numpy()))
    answers = training_targets(data.splits.train, data.dataset, SEED)
    seed = SEED.derive("target-encoding").value % 2**32
    reference = TargetEncoder(cv=StratifiedKFold(5, shuffle=True, random_state=seed))
    expected = reference.fit_transform(data.splits.train.frame["plan"].to_numpy()[:, None], answers.values)[:, 0]
    assert np.corrcoef(mine, expected)[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_one_hot_encoding_has_a_column_for_each_value_and_one_for_all_others(holed: Path) -> None:
    data = opened(holed, split={"by": {"column": "part"}}, encode={"one-hot": {"most": 2}}, columns={"sex": "drop"})
    preprocessor = fit(data)
    strange = data.splits.test.frame.head(3).with_columns(town=pl.Series(["Atlantis", None, "Lima"]))
    found = numbers(preprocessor, strange)
    hot = [
        preprocessor.names[int(i)]
        for i in np.flatnonzero(found[0] == 1.0)
        if preprocessor.names[int(i)].startswith("town=")
    ]
    assert hot == ["town=other"]
    assert found[1, preprocessor.names.index("town=missing")] == 1.0
    assert len([name for name in preprocessor.names if name.startswith("town=")]) == 4
    assert preprocessor.inputs.cardinalities == ()


def test_spelling_is_merged_where_the_recipe_says_so(holed: Path) -> None:
    kept, merged = (
        fit(opened(holed, split={"by": {"column": "part"}}, clean={"categories": how})) for how in ("keep", "merge")
    )
    values = [{state.column: state.values for state in fitted.categories}["plan"] for fitted in (kept, merged)]
    assert values[0] == ("Silver ", "gold", "silver")
    assert values[1] == ("gold", "silver")
    codes = merged.arrays(pl.read_csv(holed).head(2).with_columns(plan=pl.Series(["  SILVER", "Gold"])), "the test")[1]
    assert codes[:, [state.column for state in merged.categories].index("plan")].tolist() == [3, 2]


def test_one_column_may_differ_from_all_others(holed: Path) -> None:
    columns = {
        "age": {"scale": "minmax", "missing": "mean"},
        "bmi": {"missing": 0.0, "scale": "none"},
        "plan": {"encode": "one-hot"},
        "town": "drop",
    }
    data = opened(holed, split={"by": {"column": "part"}}, columns=columns)
    preprocessor = fit(data)
    states = {state.column: state for state in preprocessor.numbers}
    train = data.splits.train.frame
    assert states["age"].fill == pytest.approx(train["age"].mean())
    assert states["age"].scaling.offset == pytest.approx(train["age"].min())
    assert (states["bmi"].fill, states["bmi"].scaling.scale) == (0.0, 1.0)
    assert "plan=gold" in preprocessor.names
    assert "town" not in preprocessor.columns


@pytest.mark.parametrize("method", ["variance", "anova", "mutual-information", "model"])
def test_the_telling_features_are_kept(method: str) -> None:
    generator = np.random.default_rng(3)
    frame = read_builtin("builtin:breast-cancer").frame
    noise = {f"noise {i}": generator.choice([0.0, 1e-3, 1.0], frame.height, p=[0.002, 0.996, 0.002]) for i in range(8)}
    section = check_recipe(
        {"data": {"source": "x.csv", "target": "diagnosis", "select": {"method": method, "keep": 10}}}
    ).data
    dataset = interpret(RawData(frame.with_columns(**noise), "the test", Path(), "table", "diagnosis"), section)
    train = TrainSplit(np.arange(frame.height), dataset.frame)
    preprocessor = TabularPreprocessor.fit(train, dataset, section, DataRequirements(), SEED)
    assert len(preprocessor.names) == 10
    assert preprocessor.inputs.numeric == 10
    assert not [name for name in preprocessor.names if name.startswith("noise")]
    assert numbers(preprocessor, dataset.frame).shape == (frame.height, 10)


def test_anova_keeps_what_scikit_learn_keeps(holed: Path) -> None:
    from sklearn.feature_selection import SelectKBest, f_classif

    data = opened(holed, **BY_PART, select={"method": "anova", "keep": 3})
    preprocessor = fit(data)
    whole = fit(opened(holed, **BY_PART))
    answers = training_targets(data.splits.train, data.dataset, SEED)
    reference = SelectKBest(f_classif, k=3).fit(numbers(whole, data.splits.train.frame), answers.values)
    assert preprocessor.names == tuple(np.array(whole.names)[reference.get_support()])


def test_principal_directions_are_scikit_learns(holed: Path) -> None:
    from sklearn.decomposition import PCA

    data = opened(holed, **BY_PART, select={"method": "pca", "keep": 4})
    preprocessor, whole = fit(data), fit(opened(holed, **BY_PART))
    reference = PCA(4, svd_solver="full").fit(numbers(whole, data.splits.train.frame))
    expected = reference.transform(numbers(whole, data.splits.test.frame))
    np.testing.assert_allclose(numbers(preprocessor, data.splits.test.frame), expected, atol=1e-4)
    assert preprocessor.names == ("direction 1", "direction 2", "direction 3", "direction 4")


def spoiled(tmp_path: Path) -> Path:
    """Sixty rows: ten repeat earlier ones, one has a value far away, three miss one, two miss the answer."""
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"x": generator.normal(0, 1, 50).round(3), "z": generator.normal(5, 2, 50).round(3)})
    frame = frame.with_columns(y=pl.Series(["a", "b"] * 25))
    frame = pl.concat([frame, frame.head(10)])
    x, y = frame["x"].to_list(), frame["y"].to_list()
    x[20], x[30], x[31], x[32], y[40], y[41] = 1e6, None, None, None, None, None
    path = tmp_path / "spoiled.csv"
    frame.with_columns(x=pl.Series(x), y=pl.Series(y)).write_csv(path)
    return path


def test_rows_are_left_out_with_their_reason(tmp_path: Path) -> None:
    clean = {"duplicates": "drop", "missing": "drop", "unlabelled": "drop"}
    data = opened(spoiled(tmp_path), target="y", clean=clean)
    reasons = dict(data.dropped.group_by("reason").agg(pl.col("row").sort()).rows())
    assert reasons == {
        "repeats an earlier row": list(range(50, 60)),
        "a missing value": [30, 31, 32],
        "no answer": [40, 41],
    }
    used = np.concatenate([part.rows for _, part in data.splits.items()])
    assert sorted([*used.tolist(), *data.dropped["row"].to_list()]) == list(range(60))


@pytest.mark.parametrize("method", ["iqr", "z-score", "isolation-forest"])
def test_outliers_leave_the_training_split_alone(tmp_path: Path, method: str) -> None:
    clean = {"unlabelled": "drop", "outliers": {"method": method, "action": "drop", "share": 0.03}}
    data = opened(spoiled(tmp_path), target="y", clean=clean)
    far = data.dropped.filter(pl.col("reason").str.starts_with("an outlier"))["row"].to_list()
    judged = {*data.splits.validation.rows.tolist(), *data.splits.test.rows.tolist()}
    assert 20 in far or 20 in judged
    assert not judged & set(far)


def test_values_far_away_are_clipped_or_flagged(tmp_path: Path) -> None:
    path = spoiled(tmp_path)
    base = {"target": "y", "scale": "none"}
    clipped = fit(opened(path, **base, clean={"unlabelled": "drop", "outliers": {"method": "iqr"}}))
    flagged = fit(opened(path, **base, clean={"unlabelled": "drop", "outliers": {"action": "flag"}}))
    rows = pl.DataFrame({"x": [0.0, 1e9, -1e9], "z": [5.0, 5.0, 5.0]})
    limits = clipped.numbers[0].limits
    assert limits is not None
    assert numbers(clipped, rows)[:, 0].tolist() == pytest.approx([0.0, limits[1], limits[0]], rel=1e-6)
    assert numbers(flagged, rows)[:, flagged.names.index("outlier")].tolist() == [0.0, 1.0, 1.0]
    assert numbers(flagged, rows)[1, 0] == pytest.approx(1e9)


def test_a_forest_judges_rows_and_cannot_clip() -> None:
    recipe = {"data": {"source": "x.csv", "clean": {"outliers": {"method": "isolation-forest"}}}}
    with pytest.raises(RecipeError, match="isolation-forest marks whole rows"):
        check_recipe(recipe)


def test_cleaning_that_leaves_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "gaps.csv").write_text("a,b,y\n" + "".join(f"{i}.5,,u\n,{i}.25,v\n" for i in range(10)))
    with pytest.raises(DataError, match=r"gaps\.csv: cleaning removed all 20 rows \(20 a missing value\)"):
        opened(tmp_path / "gaps.csv", target="y", clean={"missing": "drop"})


STRATEGIES = ("median", "mean", "most-frequent", "constant", "knn", "iterative")
words = st.sampled_from(["gold", "silver", "new", "", "GOLD"])
recipes = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(["standard", "quantile", "power", "robust", "minmax", "log1p"]),
        "encode": st.sampled_from(["embedding", "one-hot", "target"]),
        "select": st.sampled_from(
            [None, *({"method": m, "keep": 3} for m in ("variance", "anova", "mutual-information", "model", "pca"))]
        ),
        "clean": st.fixed_dictionaries(
            {
                "missing": st.sampled_from([{"impute": {"strategy": s, "indicators": True}} for s in STRATEGIES]),
                "outliers": st.sampled_from(
                    [
                        None,
                        {"method": "isolation-forest", "action": "drop"},
                        *({"method": m, "action": a} for m in ("iqr", "z-score") for a in ("clip", "flag", "drop")),
                    ]
                ),
                "duplicates": st.sampled_from(["keep", "drop"]),
                "categories": st.sampled_from(["keep", "merge"]),
            }
        ),
        "balance": st.sampled_from(sorted(BALANCERS)),
    }
)


@pytest.fixture(scope="module")
def judged_file(holed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with texts, and with a column that is the same in every training row."""
    frame = pl.read_csv(holed)
    told = [
        f"seen in {place} on day {row % 9} by the {['old', 'new'][row % 2]} doctor"
        for row, place in enumerate(frame["town"].fill_null("a village"))
    ]
    path = tmp_path_factory.mktemp("judged") / "judged.csv"
    frame.with_columns(note=pl.Series(told), site=pl.Series(["A"] * frame.height)).write_csv(path)
    return path


@pytest.mark.slow
@pytest.mark.training
@given(recipes, st.floats(-1e12, 1e12), words, st.sampled_from(["changed", "emptied", "copied"]))
@settings(max_examples=25, deadline=None)
def test_no_value_of_validation_or_test_rows_changes_anything_learned(
    judged_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    recipe: dict[str, Any],
    number: float,
    word: str,
    way: str,
) -> None:
    """Statistics, vocabularies, chosen features, kept rows, synthetic rows: all the same whatever the others hold."""
    frame = pl.read_csv(judged_file)
    judged, empty = pl.col("part") != "train", way == "emptied"

    def other(name: str, value: object) -> pl.Expr:
        return pl.when(judged).then(pl.lit(value, dtype=frame.schema[name])).otherwise(pl.col(name)).alias(name)

    strange = frame.with_columns(
        *(other(name, None if empty else number) for name in ("age", "bmi", "bp")),
        *(other(name, word) for name in ("plan", "town", "site")),
        other("note", None if empty else f"{word} {word} unheard of"),
        other("ill", "yes" if empty else "no"),
    )
    if way == "copied":  # every other one, of training rows that stand before and behind it
        judged &= pl.int_range(pl.len()) % 2 == 0
        donors = frame.filter(pl.col("part") == "train").reverse()[np.arange(frame.height) % 200]
        strange = frame.select(
            pl.when(judged).then(donors[name]).otherwise(pl.col(name)).alias(name) if name != "part" else pl.col(name)
            for name in frame.columns
        )
    path = tmp_path_factory.mktemp("strange") / "strange.csv"
    strange.write_csv(path)
    section = {"split": {"by": {"column": "part"}}, "columns": {"note": "text"}, **recipe}
    (state, arrays), (again, others) = (_learned_or_refused(source, section) for source in (judged_file, path))
    assert state == again
    for one, two in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(one, two)


def _learned_or_refused(source: Path, section: dict[str, Any]) -> tuple[str, list[np.ndarray]]:
    """What is learned; where a way to balance does not fit the training rows, that it was refused."""
    try:
        return _learned(opened(source, **section))
    except DataError as refused:
        return str(refused).replace(str(source), ""), []


def _learned(data: DataContext) -> tuple[str, list[np.ndarray]]:
    """All that training starts from: the preparation's state, and the training examples, balanced."""
    import torch

    from danlu.experiment.data_context import fit_preprocessing
    from danlu.experiment.loaders import build_train_loader

    prepared = fit_preprocessing(data)
    balanced = build_train_loader(data, prepared, torch.device("cpu"))
    feed = balanced.loader
    rows = np.arange(len(feed.dataset))
    arrays = [values.numpy() for feature in feed.dataset.columns for values in feature.take(rows).values()]
    assert feed.dataset.target is not None
    state = prepared.preprocessor.model_dump_json() + repr(balanced.loss_weighting) + prepared.target.model_dump_json()
    return state, [*arrays, feed.dataset.target.numpy(), feed.order(0), data.splits.train.rows]


def test_a_column_that_is_the_same_in_all_training_rows_is_no_feature(holed: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(holed).with_columns(
        site=pl.when(pl.col("part") == "train").then(pl.lit("A")).otherwise(pl.lit("B")), flat=pl.lit(3.5)
    )
    frame = frame.with_columns(flat=pl.when(pl.col("part") == "test").then(7.0).otherwise(pl.col("flat")))
    frame.write_csv(tmp_path / "flat.csv")
    by = {"by": {"column": "part"}}
    assert fit(opened(tmp_path / "flat.csv", split=by)).columns == fit(opened(holed, split=by)).columns
    nothing = frame.select("site", "flat", "ill", "part")
    nothing.write_csv(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="every column is the same in all training rows"):
        fit(opened(tmp_path / "nothing.csv", split=by))


@pytest.mark.training
def test_everything_at_once_trains_and_predicts_the_same_again(holed: Path, tmp_path: Path) -> None:
    recipe = {
        "data": {
            "source": str(holed),
            "target": "ill",
            "clean": {"duplicates": "drop", "missing": {"impute": "knn"}, "outliers": {}, "categories": "merge"},
            "scale": "power",
            "encode": "target",
            "select": {"method": "mutual-information", "keep": 8},
        },
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 2},
    }
    run = package.run(recipe, output=tmp_path)
    recorded = pl.read_parquet(run.path / "predictions" / "test.parquet")
    again = package.load(run.model).predict(pl.read_csv(holed)[recorded["row"].to_numpy()])
    assert again["prediction"].to_list() == recorded["prediction"].to_list()
    assert (run.path / "data" / "dropped.parquet").exists()


@pytest.mark.training
def test_a_preparation_of_every_part_comes_back_from_plain_data(holed: Path) -> None:
    for extra in ({"select": {"method": "pca", "keep": 2}}, {"encode": "target"}, {"encode": "one-hot"}):
        for strategy in ("knn", "iterative"):
            data = opened(holed, split={"by": {"column": "part"}}, clean={"missing": {"impute": strategy}}, **extra)
            preprocessor = fit(data)
            again = type(preprocessor).model_validate_json(preprocessor.model_dump_json())
            assert again == preprocessor
            for one, two in zip(
                preprocessor.arrays(data.splits.test.frame, "x"), again.arrays(data.splits.test.frame, "x"), strict=True
            ):
                np.testing.assert_array_equal(one, two)


def test_blocks_of_a_large_table_are_prepared_as_the_whole(holed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.data import preprocessing as prepare

    data = opened(holed, split={"by": {"column": "part"}})
    preprocessor = fit(data)
    whole = prepare_split(preprocessor, data.splits.train, data.origin)
    monkeypatch.setattr(prepare, "BLOCK_ROWS", 7)
    blocks = prepare_split(preprocessor, data.splits.train, data.origin)
    rows = np.arange(len(whole))
    for one, two in zip(whole.columns, blocks.columns, strict=True):
        for name, values in one.take(rows).items():
            np.testing.assert_array_equal(values, two.take(rows)[name])


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speeches with a number beside them: a table with a column of text."""
    frame = read_builtin("builtin:speeches").frame.gather_every(5).head(240)
    frame = frame.with_columns(
        length=pl.col("text").str.len_chars(), part=pl.Series(["train", "test", "validation"] * 80)
    )
    path = tmp_path_factory.mktemp("reviews") / "reviews.parquet"
    frame.select("text", "length", "part", y=pl.col("era")).write_parquet(path)
    return path


def test_text_within_a_table_becomes_its_topics_as_scikit_learn_finds_them(reviews: Path) -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    data = opened(reviews, target="y", split={"by": {"column": "part"}})
    preprocessor = fit(data)
    topics = [name for name in preprocessor.names if name.startswith("text topic")]
    assert len(topics) == 16
    train, test = (part.frame["text"].to_list() for part in (data.splits.train, data.splits.test))
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", min_df=2, max_features=None, sublinear_tf=True
    ).fit(train)
    (state,) = preprocessor.derived
    assert state.kind == "words"
    kept = [vectorizer.vocabulary_[term] for term in state.terms]
    assert 1000 < len(kept) <= 2000
    # The same terms weighted by the reference; only then may rows be scaled to length 1 again.
    weighted = vectorizer.transform([*train, *test])[:, kept].toarray()
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    seed = SEED.derive("words", "text").value % 2**32
    reference = TruncatedSVD(16, random_state=seed).fit(weighted[: len(train)])
    projected = reference.transform(weighted)
    expected = (projected - projected[: len(train)].mean(axis=0)) / projected[: len(train)].std(axis=0)
    found = numbers(preprocessor, data.splits.test.frame)[:, [preprocessor.names.index(name) for name in topics]]
    np.testing.assert_allclose(found, expected[len(train) :], atol=2e-3)


def test_topics_of_chinese_are_found_without_spaces() -> None:
    from danlu.data.tabular.tfidf import TfidfState

    food = ["菜很好吃，味道新鲜", "味道不错，菜量很大", "这家的菜味道一般", "菜好吃，下次还来"] * 5
    phone = ["手机屏幕很清楚", "屏幕有划痕，手机退了", "手机电池不行", "屏幕大，手机轻"] * 5
    values = pl.Series("评论", [*food, *phone])
    state = TfidfState.fit(values, SEED)
    assert state is not None
    assert state.unit == "character"
    topics = state.apply(values.to_frame(), None)
    best = max(abs(topics[:20, column].mean() - topics[20:, column].mean()) for column in range(topics.shape[1]))
    assert best > 1.5


@pytest.mark.training
def test_a_table_with_text_trains_and_predicts_the_same_again(reviews: Path, tmp_path: Path) -> None:
    recipe = {
        "data": {"source": str(reviews), "target": "y", "columns": {"part": "drop"}},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 3},
    }
    run = package.run(recipe, output=tmp_path)
    recorded = pl.read_parquet(run.path / "predictions" / "test.parquet")
    rows = pl.read_parquet(reviews)[recorded["row"].to_numpy()]
    again = package.load(run.model).predict(rows)
    assert again["prediction"].to_list() == recorded["prediction"].to_list()
    blank = package.load(run.model).predict(rows.with_columns(text=pl.lit(None, dtype=pl.String)))
    assert blank.height == rows.height
