"""What the tests share: the command, and one finished run of each kind of data, made once."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from danlu.core.console import log_to_stderr
from tests.support.disk import do_not_wait_for_the_disk
from tests.support.warm import PATIENCE_S, command

# Tests run side by side, one a core; threads of several processes on the same cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

DANLU = Path(sys.executable).parent / "danlu"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def _messages_on_stderr() -> None:
    """As on the command line; pytest's own handlers would take them otherwise."""
    log_to_stderr()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> None:
    do_not_wait_for_the_disk()


@pytest.fixture(scope="session", autouse=True)
def _kept_work_of_the_tests_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["DANLU_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def danlu() -> Command:
    """The command in a fork of a process that is warm; returns its exit code and output."""
    return command


@pytest.fixture(scope="session")
def installed_danlu() -> Command:
    """The installed command in a process of its own; returns its exit code and output."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [DANLU, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, timeout=PATIENCE_S
        )

    return run


@pytest.fixture(scope="session")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wine set as a CSV with what real files have: a category, a date, missing values, an identifier."""
    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:wine").frame
    rows = frame.height
    frame = frame.with_columns(
        pl.Series("id", [f"W{index:04}" for index in range(rows)]),
        pl.Series("shelf", ["red", "white", "rosé"][:3] * (rows // 3) + ["red"] * (rows % 3)),
        pl.date_range(pl.date(2020, 1, 1), pl.date(2026, 1, 1), eager=True)[:rows].alias("bottled"),
        pl.when(pl.int_range(rows) % 7 == 0).then(None).otherwise(pl.col("ash")).alias("ash"),
    )
    path = tmp_path_factory.mktemp("table") / "wine.csv"
    frame.sample(fraction=1.0, shuffle=True, seed=3).write_csv(path)
    return path


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits as PNG files, a class a folder."""
    from danlu.data.builtin import read_builtin

    folder = tmp_path_factory.mktemp("images") / "digits"
    frame = read_builtin("builtin:digits").frame.filter(pl.col("digit") < 4).head(300)
    for index, (image, digit) in enumerate(frame.rows()):
        (folder / f"digit-{digit}").mkdir(parents=True, exist_ok=True)
        (folder / f"digit-{digit}" / f"{index:04}.png").write_bytes(image)
    return folder


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 passages of speeches of two eras as JSONL."""
    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:speeches").frame.filter(pl.col("era").is_in(["1790-1860", "since 1946"]))
    path = tmp_path_factory.mktemp("texts") / "passages.jsonl"
    frame.sample(500, seed=1, shuffle=True).select("text", "era").write_ndjson(path)
    return path


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 speeches as text files."""
    from danlu.data.builtin import read_builtin

    folder = tmp_path_factory.mktemp("corpus")
    for index, text in enumerate(read_builtin("builtin:speeches-corpus").frame["text"][-30:]):
        (folder / f"{index:02}.txt").write_text(text, encoding="utf-8")
    return folder


TINY_TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="session")
def table_recipe(table_file: Path) -> dict[str, object]:
    return {
        "name": "wine",
        "data": {"source": str(table_file), "target": "cultivar"},
        "training": {"epochs": 15, "batch_size": 32},
    }


@pytest.fixture(scope="session")
def image_recipe(image_folder: Path) -> dict[str, object]:
    return {
        "name": "digits",
        "data": {"source": str(image_folder)},
        "model": "timm:test_resnet",
        "training": {"epochs": 6, "batch_size": 32, "optimizer": {"lr": 3e-3}},
    }


@pytest.fixture(scope="session")
def text_recipe(text_file: Path) -> dict[str, object]:
    return {
        "name": "eras",
        "data": {"source": str(text_file), "target": "era", "sequence_length": 64, "vocabulary": 1024},
        "model": {"name": "hf:bert", "config": TINY_TEXT},
        "training": {"epochs": 6, "batch_size": 32, "optimizer": {"lr": 3e-3}},
    }


@pytest.fixture(scope="session")
def corpus_recipe(corpus_folder: Path) -> dict[str, object]:
    return {
        "name": "speeches",
        "data": {"source": str(corpus_folder / "*.txt"), "sequence_length": 64, "vocabulary": 512},
        "model": {"name": "hf:llama", "config": {**TINY_TEXT, "hidden_size": 64}},
        "training": {"max_steps": 150, "batch_size": 16, "optimizer": {"lr": 1e-2}},
    }


@pytest.fixture(scope="session")
def table_run(table_recipe: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(table_recipe, tmp_path_factory)


@pytest.fixture(scope="session")
def image_run(image_recipe: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(image_recipe, tmp_path_factory)


@pytest.fixture(scope="session")
def text_run(text_recipe: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(text_recipe, tmp_path_factory)


@pytest.fixture(scope="session")
def corpus_run(corpus_recipe: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(corpus_recipe, tmp_path_factory)


def _finished(recipe: dict[str, object], factory: pytest.TempPathFactory) -> Path:
    import danlu as package

    return package.run(recipe, output=factory.mktemp("runs")).path


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    """A tiny BERT of random weights with a tokenizer, in a folder as transformers writes it."""
    from danlu.core.imports import patch_torchvision
    from danlu.data.text.preprocessor import train_tokenizer

    patch_torchvision()
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    texts = pl.read_ndjson(text_file)["text"].to_list()
    trained = train_tokenizer(texts, 400, True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained.open(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    BertModel(BertConfig(vocab_size=400, max_position_embeddings=64, **TINY_TEXT)).save_pretrained(folder)
    return folder
