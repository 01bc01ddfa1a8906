"""Near copies: found where they are planted, in texts of any script and in photos; what only looks alike is left."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.builtin import read_builtin
from danlu.data.near_duplicates import near_images, near_texts
from danlu.errors import RecipeError
from danlu.experiment.data_context import load_data
from danlu.recipe.load import check_recipe

TEXTS = read_builtin("builtin:speeches").frame["text"].to_list()[:200]


def test_a_text_with_a_word_changed_is_a_near_copy() -> None:
    copies = [text.replace("the", "THE ", 2).replace("Government", "government") for text in TEXTS[:50]]
    altered = [text[:200] + " indeed " + text[200:] for text in TEXTS[50:100]]
    groups = near_texts([*TEXTS, *copies, *altered], 0.9)
    assert groups[: len(TEXTS)].tolist() == list(range(len(TEXTS)))
    assert groups[len(TEXTS) :].tolist() == list(range(100))


def test_chinese_texts_are_compared_by_characters() -> None:
    one = "这家餐厅的服务员态度非常好，菜也很新鲜，价格不贵，下次还会带朋友一起来吃饭。环境安静，停车也方便。"
    other = "手机收到以后发现屏幕上有一道很长的划痕，客服一直不回复消息，非常失望，再也不会在这里买东西了，差评。"
    assert near_texts([one, other, one.replace("朋友", "家人"), other + "！"], 0.8).tolist() == [0, 1, 0, 1]


@given(st.lists(st.text(max_size=30), max_size=12))
@settings(max_examples=100, deadline=None)
def test_equal_texts_share_a_group_and_its_first_member_names_it(texts: list[str]) -> None:
    groups = near_texts([*texts, *texts], 0.9)
    assert groups[: len(texts)].tolist() == groups[len(texts) :].tolist()
    assert all(group <= position and groups[group] == group for position, group in enumerate(groups))


def test_the_exact_similarity_decides_about_candidates() -> None:
    text = TEXTS[0]
    mostly = text[: len(text) * 4 // 5] + TEXTS[1][: len(text) // 5]
    assert near_texts([text, mostly], 0.9).tolist() == [0, 1]
    assert near_texts([text, mostly], 0.55).tolist() == [0, 0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos and copies of them, resized, recompressed and brightened; and parts that are not copies."""
    from PIL import Image, ImageEnhance
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("near")
    for index, pixels in enumerate(load_sample_images().images):
        photo = Image.fromarray(pixels)
        photo.save(folder / f"{index}-whole.png")
        photo.resize((320, 213)).save(folder / f"{index}-small.jpg", quality=70)
        ImageEnhance.Brightness(photo).enhance(1.15).save(folder / f"{index}-bright.jpg")
        for part in range(3):
            photo.crop((part * 150, part * 90, part * 150 + 200, part * 90 + 150)).save(
                folder / f"{index}-part{part}.png"
            )
    return folder


def test_copies_of_photos_are_found_and_parts_are_not(photos: Path) -> None:
    names = sorted(path.name for path in photos.iterdir())
    groups = dict(zip(names, near_images(names, photos, 0.9).tolist(), strict=True))
    for index in (0, 1):
        assert len({groups[f"{index}-{form}"] for form in ("whole.png", "small.jpg", "bright.jpg")}) == 1
        assert len({groups[f"{index}-part{part}.png"] for part in range(3)}) == 3
        assert groups[f"{index}-whole.png"] not in {groups[f"{index}-part{part}.png"] for part in range(3)}
    assert groups["0-whole.png"] != groups["1-whole.png"]


def test_near_copies_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    texts = [*TEXTS, *(text + " Thank you." for text in TEXTS[:40])]
    frame = pl.DataFrame({"text": texts, "y": np.array(["a", "b"])[np.arange(len(texts)) % 2]})
    frame.write_ndjson(tmp_path / "texts.jsonl")
    recipe = {"data": {"source": str(tmp_path / "texts.jsonl"), "text": "text", "target": "y"}}
    found = load_data(check_recipe(recipe)).findings
    assert "near duplicates" in {finding.subject for finding in found}
    recipe["data"]["clean"] = {"duplicates": "near"}
    data = load_data(check_recipe(recipe))
    assert data.dropped["row"].to_list() == list(range(200, 240))
    assert not data.findings


def test_near_is_refused_for_tables() -> None:
    recipe = {"data": {"source": "builtin:wine", "clean": {"duplicates": "near"}}}
    with pytest.raises(RecipeError, match="for tables use drop"):
        load_data(check_recipe(recipe))
