"""Augmentation in training: texts, tables, mixed pairs, what a recipe may say; and only training sees any of it."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.core.seeds import Seed
from danlu.data.augment.base import BatchAugmentation, TransformContext
from danlu.data.augment.mixing import Cutmix, MixTransform, Mixup
from danlu.data.augment.tabular import Noise, SwapNoise
from danlu.data.augment.text import DeleteTokens, MaskSpans, SwapTokens, read_special_tokens
from danlu.data.descriptors import TokenizerFile
from danlu.errors import ArgumentError, RecipeError
from tests.conftest import Command

BATCHES = ([41, 7], [5, 88, 41], list(range(64)))


@pytest.fixture(scope="module")
def tokenizer(text_file: Path) -> TokenizerFile:
    from danlu.data.text.preprocessor import train_tokenizer

    return train_tokenizer(pl.read_ndjson(text_file)["text"].to_list(), 600, add_special_tokens=True)


def token_feed(step: BatchAugmentation, tokenizer: TokenizerFile, text_file: Path) -> Any:
    """A feed of passages with one change."""
    import torch

    from danlu.data.loader import PreparedDataset, TrainLoader, shuffled_order
    from danlu.data.text.sequences import PaddedTokens
    from danlu.data.text.tokenize import RaggedTokens

    reader = tokenizer.open()
    reader.enable_truncation(60)
    ids = [encoding.ids for encoding in reader.encode_batch(pl.read_ndjson(text_file)["text"].to_list()[:120])]
    lengths = np.array([len(text) for text in ids])
    flat = np.array([token for text in ids for token in text], dtype=np.int32)
    lists = PaddedTokens(RaggedTokens(flat, np.concatenate([[0], np.cumsum(lengths)])), tokenizer.pad)
    examples = PreparedDataset((lists,), torch.zeros(len(ids), dtype=torch.int64))
    change = step.build_transform(TransformContext(examples, Seed(5), tokenizer))
    return TrainLoader(examples, shuffled_order(len(ids), Seed(0)), len(ids), (change,))


def texts(batch: Any) -> list[list[int]]:
    """Each text's tokens without its padding."""
    inputs = batch.inputs
    return [ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]


def taken(feed: Any, rows: list[int], epoch: int = 0, changed: int | None = None) -> Any:
    import torch

    return feed.take(np.array(rows), epoch, torch.device("cpu"), changed)


TEXT_STEPS = [DeleteTokens(probability=0.3), SwapTokens(probability=0.4), MaskSpans(share=0.3, length=3)]


@pytest.mark.parametrize("step", TEXT_STEPS, ids=lambda step: step.name)
def test_special_tokens_and_padding_are_never_changed(
    step: BatchAugmentation, tokenizer: TokenizerFile, text_file: Path
) -> None:
    feed, special = token_feed(step, tokenizer, text_file), set(read_special_tokens(tokenizer).special)
    batch = taken(feed, list(range(60)))
    mask = batch.inputs["attention_mask"]
    assert (mask.diff(dim=1) <= 0).all(), "text first, then padding alone"
    assert (batch.inputs["input_ids"][mask == 0] == tokenizer.pad).all()
    changed = 0
    for before, after in zip(texts(taken(feed, list(range(60)), changed=0)), texts(batch), strict=True):
        assert before[0] == after[0] and before[-1] == after[-1] and {before[0], before[-1]} <= special
        masked = {read_special_tokens(tokenizer).mask} if isinstance(step, MaskSpans) else set()
        assert [t for t in before if t in special] == [t for t in after if t in special - masked]
        changed += before != after
    assert changed > 50


@pytest.mark.parametrize("step", TEXT_STEPS, ids=lambda step: step.name)
def test_what_becomes_of_a_text_depends_on_seed_epoch_and_row_alone(
    step: BatchAugmentation, tokenizer: TokenizerFile, text_file: Path
) -> None:
    feed = token_feed(step, tokenizer, text_file)
    alone = texts(taken(feed, [41], epoch=2))[0]
    for rows in BATCHES:
        assert texts(taken(feed, rows, epoch=2))[rows.index(41)] == alone
    assert texts(taken(feed, [41], epoch=3))[0] != alone


def test_texts_are_changed_as_much_as_was_said(tokenizer: TokenizerFile, text_file: Path) -> None:
    rows = list(range(120))
    deleted, swapped, masked = (token_feed(step, tokenizer, text_file) for step in TEXT_STEPS)
    before = texts(taken(deleted, rows, changed=0))
    words = sum(len(text) - 2 for text in before)
    left = sum(len(text) - 2 for text in texts(taken(deleted, rows)))
    assert 0.67 < left / words < 0.73
    hidden = sum(text.count(read_special_tokens(tokenizer).mask) for text in texts(taken(masked, rows)))
    assert 0.26 < hidden / words < 0.33
    moved = 0
    for old, new in zip(before, texts(taken(swapped, rows)), strict=True):
        assert sorted(old) == sorted(new)
        moved += sum(a != b for a, b in zip(old, new, strict=True))
    assert 0.3 < moved / words < 0.41


def test_deleting_leaves_every_text_a_token(tokenizer: TokenizerFile, text_file: Path) -> None:
    feed = token_feed(DeleteTokens(probability=0.999), tokenizer, text_file)
    lengths = [len(text) for text in texts(taken(feed, list(range(100))))]
    assert min(lengths) == 3 and max(lengths) <= 4, "start, end, and a token or two between"


def table_feed(*steps: BatchAugmentation) -> Any:
    """500 rows: a wide column, a narrow one, a flag; and a category."""
    import torch

    from danlu.data.loader import PreparedDataset, TensorColumn, TrainLoader, shuffled_order

    rng = np.random.default_rng(0)
    numbers = np.stack([rng.normal(0, 10, 500), rng.normal(5, 0.1, 500), rng.integers(0, 2, 500)], axis=1)
    features = (
        TensorColumn("numeric", torch.from_numpy(numbers.astype(np.float32))),
        TensorColumn("categories", torch.from_numpy(rng.integers(0, 50, (500, 1)) + 100)),
    )
    examples = PreparedDataset(features, torch.from_numpy(rng.integers(0, 3, 500)))
    changes = tuple(
        step.build_transform(TransformContext(examples, Seed(5).derive(index), None))
        for index, step in enumerate(steps)
    )
    return TrainLoader(examples, shuffled_order(500, Seed(0)), 500, changes)


def test_noise_is_measured_in_deviations_of_its_column_and_spares_flags() -> None:
    feed, rows = table_feed(Noise(std=0.2)), list(range(500))
    off = (taken(feed, rows).inputs["numeric"] - taken(feed, rows, changed=0).inputs["numeric"]).numpy()
    assert off[:, 0].std() == pytest.approx(2.0, rel=0.15)
    assert off[:, 1].std() == pytest.approx(0.02, rel=0.15)
    assert (off[:, 2] == 0).all()


def test_swap_noise_takes_cells_of_the_same_column() -> None:
    feed, rows = table_feed(SwapNoise(probability=0.25)), list(range(500))
    before, after = taken(feed, rows, changed=0).inputs, taken(feed, rows).inputs
    for name in ("numeric", "categories"):
        old, new = before[name].numpy(), after[name].numpy()
        for column in range(old.shape[1]):
            assert np.isin(new[:, column], old[:, column]).all()
            given = new[new[:, column] != old[:, column], column]
            assert (name == "numeric" and column == 2) or len(np.unique(given)) > 30, "from many rows"
    changed = (before["numeric"][:, :2] != after["numeric"][:, :2]).float().mean(dim=0)
    assert all(0.19 < float(share) < 0.31 for share in changed)
    assert (before["categories"] != after["categories"]).float().mean() > 0.15


@pytest.mark.parametrize("steps", [(Noise(std=0.2), SwapNoise(probability=0.3)), (SwapNoise(), Noise(std=0.5))])
def test_what_becomes_of_a_row_of_a_table_depends_on_seed_epoch_and_row_alone(steps: Any) -> None:
    feed = table_feed(*steps)
    alone = taken(feed, [41], epoch=2).inputs["numeric"][0]
    for rows in BATCHES:
        assert (taken(feed, rows, epoch=2).inputs["numeric"][rows.index(41)] == alone).all()
    assert not (taken(feed, [41], epoch=3).inputs["numeric"][0] == alone).all()


def image_feed(*ways: Any, classes: int | None = 3, count: int = 90) -> Any:
    """Images of one level a class, so that a mean tells the shares."""
    import torch

    from danlu.data.loader import PreparedDataset, TensorColumn, TrainLoader, shuffled_order

    target = torch.arange(count) % 3
    images = (100 * target).to(torch.uint8)[:, None, None, None].expand(count, 3, 16, 16).contiguous()
    examples = PreparedDataset((TensorColumn("image", images),), target if classes else target.float())
    return TrainLoader(examples, shuffled_order(count, Seed(0)), count, (MixTransform(ways, count, classes, Seed(5)),))


LEVELS = np.array([0.0, 100.0, 200.0])


@pytest.mark.parametrize("ways", [(Mixup(alpha=1.0),), (Cutmix(),), (Mixup(alpha=1.0), Cutmix())])
def test_answers_are_mixed_in_proportion_to_the_pixels(ways: Any) -> None:
    batch = taken(image_feed(*ways), list(range(90)))
    target = batch.target.numpy()
    assert target.shape == (90, 3)
    assert np.allclose(target.sum(axis=1), 1, atol=1e-6)
    assert ((target > 0.05).sum(axis=1) > 1).mean() > 0.4
    means = batch.inputs["image"].double().mean(dim=(1, 2, 3)).numpy()
    assert np.allclose(means, target @ LEVELS, atol=0.51)
    numbers = taken(image_feed(*ways, classes=None), list(range(90)))
    assert np.allclose(numbers.target.numpy() * 100, means, atol=0.51)


def test_cutmix_pastes_whole_pixels_and_mixup_blends_them() -> None:
    cut, blended = (taken(image_feed(way), list(range(90))).inputs["image"] for way in (Cutmix(), Mixup(alpha=1.0)))
    assert set(cut.unique().tolist()) == {0, 100, 200}
    assert len(blended.unique()) > 50


def test_pairs_are_a_function_of_seed_epoch_and_row() -> None:
    feed = image_feed(Mixup(alpha=1.0), Cutmix())
    alone = taken(feed, [41], epoch=2)
    for rows in BATCHES:
        batch = taken(feed, rows, epoch=2)
        assert (batch.inputs["image"][rows.index(41)] == alone.inputs["image"][0]).all()
        assert (batch.target[rows.index(41)] == alone.target[0]).all()
    whole, other = (taken(feed, BATCHES[2], epoch=epoch).inputs["image"] for epoch in (2, 3))
    assert (whole != other).flatten(1).any(dim=1).float().mean() > 0.6, "another epoch, other pairs"


def test_mixup_of_a_table_mixes_numbers_and_takes_categories_from_the_larger_share() -> None:
    from dataclasses import replace

    feed = replace(table_feed(), transforms=(MixTransform((Mixup(alpha=1.0),), 500, 3, Seed(5)),))
    before, batch = taken(feed, list(range(500)), changed=0), taken(feed, list(range(500)))
    flags = batch.inputs["numeric"][:, 2]
    assert ((flags > 0.1) & (flags < 0.9)).float().mean() > 0.3
    kept = (batch.inputs["categories"] == before.inputs["categories"]).float().mean()
    assert 0.4 < kept < 0.65
    assert batch.inputs["categories"].dtype == before.inputs["categories"].dtype


def test_label_smoothing_works_with_mixed_answers() -> None:
    import torch

    from danlu.tasks.classification import classification_loss
    from danlu.tasks.loss_weighting import LossWeighting

    logits, target = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    whole = torch.nn.functional.one_hot(target, 3).float()
    emphasis = LossWeighting(smoothing=0.2)
    hard, soft = classification_loss(logits, target, emphasis), classification_loss(logits, whole, emphasis)
    assert float(hard[0]) == pytest.approx(float(soft[0]), rel=1e-6) and hard[1] == soft[1] == 8
    mixed = classification_loss(logits, 0.5 * whole + 0.5 * whole.roll(1, dims=0), emphasis)[0]
    assert float(mixed) == pytest.approx(
        0.5 * float(hard[0]) + 0.5 * float(classification_loss(logits, target.roll(1), emphasis)[0])
    )


def resolved(image_folder: Path, **data: Any) -> Any:
    from danlu.experiment.data_context import load_data
    from danlu.recipe.load import as_recipe

    return load_data(as_recipe({"data": {"source": str(image_folder), **data}})).recipe


def test_the_recipe_of_the_design_is_valid(image_folder: Path) -> None:
    augment = [
        {"random-crop": {"size": 224, "scale": [0.5, 1.0]}},
        {"rotate": {"degrees": 30}},
        {"flip": {"horizontal": 0.5, "vertical": 0.0}},
        {"color": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2}},
        {"noise": {"std": 0.02}},
    ]
    recipe = resolved(image_folder, augment=augment)
    assert recipe.data.image_size == 224
    assert [step.name for step in recipe.data.augment] == ["random-crop", "rotate", "flip", "color", "noise"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"augment": [{"random-crop": {"size": 48}}], "image_size": 64},
            "gives images of 48 pixels and data.image_size is 64",
        ),
        ({"augment": ["random-crop", "random-crop"]}, "may appear only once in the list"),
        ({"augment": ["delete-tokens"]}, "delete-tokens takes text data"),
        ({"augment": [{"random-crop": {"scale": [0.9, 0.2]}}]}, "must not be above the second, got 0.9 and 0.2"),
        ({"augment": [{"rotat": 10}]}, "rotat"),
    ],
)
def test_what_cannot_be_is_refused(image_folder: Path, data: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolved(image_folder, **data)


def test_masking_needs_a_token_to_mask_with(tokenizer: TokenizerFile, text_file: Path) -> None:
    without = tokenizer.model_copy(update={"json_text": tokenizer.json_text.replace("<unk>", "<what>")})
    with pytest.raises(RecipeError, match="neither; use delete-tokens"):
        token_feed(MaskSpans(), without, text_file)


STRONG = [
    {"random-crop": {"size": 32, "scale": [0.3, 0.6]}},
    {"rotate": 90},
    {"color": {"brightness": 0.5}},
    {"noise": 0.1},
    "cutmix",
]


def test_only_training_sees_changed_images(image_recipe: dict[str, Any]) -> None:
    import torch

    from danlu.experiment.data_context import fit_preprocessing, load_data
    from danlu.experiment.loaders import build_prepared_dataset, build_train_loader
    from danlu.recipe.load import as_recipe

    cpu = torch.device("cpu")
    plain = load_data(as_recipe(image_recipe))
    strong = load_data(as_recipe({**image_recipe, "data": {**image_recipe["data"], "augment": STRONG}}))
    prepared = fit_preprocessing(strong)
    assert prepared == fit_preprocessing(plain), "mean and deviation are those of the images as they are"
    rows = np.arange(40)
    originals = build_train_loader(plain, prepared, cpu).loader.take(rows, 0, cpu)
    feed = build_train_loader(strong, prepared, cpu).loader
    judged = [build_prepared_dataset(opened, prepared, opened.splits.validation) for opened in (plain, strong)]
    few = np.arange(8)
    assert torch.equal(judged[0].take(few, cpu)[0]["image"], judged[1].take(few, cpu)[0]["image"])
    changed = feed.take(rows, 0, cpu)
    assert changed.inputs["image"].shape == originals.inputs["image"].shape
    assert (changed.inputs["image"] != originals.inputs["image"]).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_changed_alike_by_one_thread_several_or_on_a_device(
    image_recipe: dict[str, Any], threads: int
) -> None:
    """The device's changes run here on the CPU; what chooses them is where the model trains."""
    import torch

    from danlu.experiment.data_context import fit_preprocessing, load_data
    from danlu.experiment.loaders import build_train_loader
    from danlu.recipe.load import as_recipe

    steps = [{"rotate": 20}, "flip", {"color": {"brightness": 0.3}}, {"noise": 0.02}, "cutmix"]
    opened = load_data(as_recipe({**image_recipe, "data": {**image_recipe["data"], "augment": steps}}))
    prepared, cpu, rows = fit_preprocessing(opened), torch.device("cpu"), np.arange(30)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        host = build_train_loader(opened, prepared, cpu).loader.take(rows, 1, cpu)
    finally:
        torch.set_num_threads(usual)
    feed = build_train_loader(opened, prepared, torch.device("cuda")).loader
    device = feed.take(rows, 1, cpu)
    assert len(feed.transforms) == 2
    assert torch.equal(host.target, device.target)
    off = (host.inputs["image"].int() - device.inputs["image"].int()).abs()
    assert (off > 2).float().mean() < 0.01


def test_validation_is_judged_on_rows_as_they_are(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    """With steps too small to learn anything, augmentation moves the training loss and nothing else."""
    training = {"max_steps": 3, "optimizer": {"lr": 1e-12}}
    model = {"name": "mlp", "normalization": "none", "dropout": 0.0}
    logs = []
    for name, augment in (("plain", []), ("changed", [{"noise": 2.0}, {"swap-noise": 0.5}, "mixup"])):
        data = {**table_recipe["data"], "augment": augment}
        run = package.train(
            {**table_recipe, "data": data, "model": model, "training": training}, output=tmp_path, name=name
        )
        logs.append(pl.read_ndjson(run.path / "metrics.jsonl", infer_schema_length=None))
    figures = {key: [log[key].drop_nulls()[-1] for log in logs] for key in ("train/loss", "validation/loss")}
    assert figures["validation/loss"][0] == pytest.approx(figures["validation/loss"][1], abs=1e-6)
    assert abs(figures["train/loss"][0] - figures["train/loss"][1]) > 1e-3


@pytest.mark.slow
def test_training_with_every_kind_of_change_is_the_same_twice(image_recipe: dict[str, Any], tmp_path: Path) -> None:
    steps = [*STRONG, "flip", "translate", "mixup"]
    steps[-2] = {"translate": 0.1}
    recipe = {
        **image_recipe,
        "data": {**image_recipe["data"], "augment": steps},
        "training": {"epochs": 2, "batch_size": 64, "label_smoothing": 0.1},
    }
    weights = [
        (package.train(recipe, output=tmp_path, name=name).path / "model" / "weights.safetensors").read_bytes()
        for name in ("first", "second")
    ]
    assert weights[0] == weights[1]


def test_visualize_writes_a_contact_sheet(image_recipe: dict[str, Any], tmp_path: Path) -> None:
    from PIL import Image

    recipe = {**image_recipe, "data": {**image_recipe["data"], "augment": STRONG}}
    path = package.visualize(recipe, output=tmp_path / "sheet.png", samples=3, epochs=4).path
    with Image.open(path) as sheet:
        assert sheet.width > sheet.height > 300
    with pytest.raises(ArgumentError, match="exists already"):
        package.visualize(recipe, output=path)
    with pytest.raises(ArgumentError, match=r"shown as \.png"):
        package.visualize(recipe, output=tmp_path / "sheet.html")
    with pytest.raises(RecipeError, match="nothing to show"):
        package.visualize(image_recipe, output=path, overwrite=True)


def test_visualize_shows_texts_and_tables_readably(
    text_recipe: dict[str, Any], table_recipe: dict[str, Any], tmp_path: Path
) -> None:
    text = {**text_recipe, "data": {**text_recipe["data"], "augment": ["mask-spans"]}}
    page = package.visualize(text, output=tmp_path / "texts.html", samples=2, epochs=3).path.read_text(encoding="utf-8")
    assert page.count("<table>") == 2 and page.count("<th>epoch 3</th>") == 2
    assert "<b>&lt;unk&gt;" in page
    table = {**table_recipe, "data": {**table_recipe["data"], "augment": ["mixup"]}}
    page = package.visualize(table, output=tmp_path / "rows.html", samples=2, epochs=8).path.read_text(encoding="utf-8")
    assert "<th>bottled elapsed</th>" in page and "<th>shelf</th>" in page
    assert "%" in page, "mixed answers say their shares"


def test_the_command_says_what_it_wrote(danlu: Command, table_file: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "wine.yaml"
    recipe.write_text(f"data: {{source: '{table_file}', target: cultivar, augment: [{{noise: 0.1}}]}}\n")
    done = danlu("visualize", recipe, "--only", "augment", "--samples", "1", cwd=tmp_path)
    assert done.returncode == 0 and "wrote model-augment.html" in done.stderr
    assert (tmp_path / "model-augment.html").is_file()
