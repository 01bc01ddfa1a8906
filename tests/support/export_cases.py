"""Every family and task that can leave as another form: a tiny run of each, and which form and engine takes it.

`scripts/make_export_table.py` writes the table of docs/export.md from here; `tests.exporters.test_every_form` and its
neighbour hold each row to what is seen.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

import danlu
from danlu.errors import ArgumentError

INTO = " --into"  # beside the weights, for danlu's own engines
COLUMNS = ("onnx", "openvino", "torch-export", f"onnx{INTO}", f"openvino{INTO}")
YES, NO = "yes", "–"
WORDS = ("red", "blue", "green", "stone", "river", "cloud", "tree", "house")
ENCODER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
BEGIN, END = "<!-- made by scripts/make_export_table.py -->", "<!-- until here -->"
ROWS = 400
SMALL: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"hidden": [16]},
    "resnet": {"width": 16, "blocks": 1},
    "ft-transformer": {"width": 16, "blocks": 1, "heads": 2},
    "tabm": {"width": 16, "members": 4},
    "additive": {},
    "tree": {"depth": 4},
    "boosting": {"rounds": 8, "leaf_rows": 5, "leaves": 8},
}


@dataclass(frozen=True)
class Case:
    """A family with a task, and the run that shows it."""

    name: str
    family: str
    task: str
    kind: str
    run: Callable[[Path], Path]


@cache
def table() -> pl.DataFrame:
    """A table with all that a column can be: gaps, categories few and many, a date, seconds since 1970, free text."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(10, 3, ROWS)
    skewed = np.exp(generator.normal(size=ROWS))
    texts = [" ".join(generator.choice(WORDS[3:], generator.integers(2, 8))) for _ in range(ROWS)]
    known = generator.uniform(size=ROWS) > 0.15
    return pl.DataFrame(
        {
            "colour": [str(word) if there else None for word, there in zip(
                generator.choice(WORDS[:3], ROWS), np.roll(known, 5), strict=True)],
            "place": [f"p{number}" for number in generator.integers(0, 45, ROWS)],
            "x": [float(value) if there else None for value, there in zip(numbers, known, strict=True)],
            "skewed": skewed,
            "seconds": 1.7e9 + 3600.0 * np.arange(ROWS),
            "day": [f"2024-{1 + at % 12:02}-{1 + at % 28:02}" for at in range(ROWS)],
            "note": texts,
        }
    )  # fmt: skip


def _signal() -> np.ndarray:
    rows = table()
    places = rows["place"].str.slice(1).cast(pl.Int64).to_numpy() % 3
    red = (rows["colour"] == "red").fill_null(False).to_numpy()
    return np.asarray(np.log(rows["skewed"].to_numpy()) + places + red)


def targets() -> dict[str, dict[str, Any]]:
    """Task -> its columns."""
    signal = _signal()
    third = np.digitize(signal, np.quantile(signal, [0.33, 0.66]))
    return {
        "classification": {"y": [("a", "b", "c")[at] for at in third]},
        "two": {"y": ["yes" if value else "no" for value in third > 0]},
        "ordinal": {"y": third.tolist()},
        "regression": {"y": (1000 + 30 * signal).tolist()},
        "multi-output-regression": {"y": (1000 + 30 * signal).tolist(), "z": (0.001 * signal).tolist()},
        "poisson-regression": {"y": np.round(np.exp(signal / 2)).astype(int).tolist()},
        "quantile-regression": {"y": (1000 + 30 * signal).tolist()},
        "multi-label": {"y": [[word for word in ("river", "tree") if word in note] for note in table()["note"]]},
    }


def run_table(
    folder: Path, family: str, task: str, evaluation: dict[str, Any] | None = None, data: dict[str, Any] | None = None
) -> Path:
    """A tiny run of a table."""
    columns = targets()[task]
    names = list(columns)
    asked = {} if task in ("classification", "two", "multi-output-regression") else {"task": task}
    said: dict[str, Any] = {
        "data": {"target": names[0] if len(names) == 1 else names, **asked, **(data or {})},
        "model": {"name": family, **SMALL[family]},
        "evaluation": {"baselines": False, **(evaluation or {})},
    }
    if family not in ("tree", "boosting"):
        said["training"] = {"max_steps": 15, "batch_size": 64}
    rows = table().with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    return danlu.run(said, data=rows, output=folder, name="run").path


def texts(count: int = 100) -> list[str]:
    generator = np.random.default_rng(3)
    return [" ".join(generator.choice(WORDS, generator.integers(2, 9))) for _ in range(count)]


def run_texts(folder: Path, task: str, model: dict[str, Any], evaluation: dict[str, Any] | None = None) -> Path:
    """A tiny run of texts."""
    values: dict[str, Any] = {
        "classification": ["c" if "red" in text else "b" if "stone" in text else "a" for text in texts()],
        "ordinal": [min(len(text.split()), 8) // 3 for text in texts()],
        "regression": [1000.0 + len(text) for text in texts()],
        "multi-label": [[word for word in ("blue", "red") if word in text] for text in texts()],
    }
    said = {"data": {"text": "text", "target": "y", "task": task, "sequence_length": 16, "vocabulary": 300}}
    return _run(folder, said, model, {"text": texts(), "y": values[task]}, evaluation)


def run_words(folder: Path, model: dict[str, Any]) -> Path:
    """A tiny run of tags."""
    rows = [text.split() for text in texts()]
    tags = [["COLOUR" if word in WORDS[:3] else "O" for word in row] for row in rows]
    said = {"data": {"vocabulary": 300, "sequence_length": 64}}
    return _run(folder, said, model, {"tokens": rows, "tags": tags})


def run_language(folder: Path, kind: str, model: dict[str, Any]) -> Path:
    """A tiny language model of a corpus, conversations or preferences."""
    asked = [[{"role": "user", "content": text}] for text in texts()]
    said = [[{"role": "assistant", "content": text[::-1]}] for text in texts()]
    data: dict[str, Any] = {
        "corpus": {"text": texts()},
        "chat": {"messages": [[*one, *other] for one, other in zip(asked, said, strict=True)]},
        "preference": {
            "prompt": asked,
            "chosen": said,
            "rejected": [[{"role": "assistant", "content": "no"}] for _ in asked],
        },
    }
    task = {"task": "language-modelling"} if kind == "corpus" else {}
    return _run(folder, {"data": {"vocabulary": 300, "sequence_length": 32, **task}}, model, data[kind])


def run_images(folder: Path, task: str, model: dict[str, Any]) -> Path:
    """A tiny run of pictures."""
    from PIL import Image

    generator = np.random.default_rng(1)
    paths = []
    for place in range(40):
        pixels = generator.integers(0, 256, (40, 56, 3), dtype=np.uint8)
        pixels[:, :, place % 3] //= 3
        paths.append(str(folder / f"{place}.png"))
        Image.fromarray(pixels).save(paths[-1])
    target: list[Any] = [f"k{at % 3}" for at in range(40)] if task == "classification" else [40.0 + at % 3 for at in range(40)]  # fmt: skip # noqa: E501
    said = {"data": {"image": "image", "target": "y", "image_size": 32, "task": task}}
    return _run(folder, said, model, {"image": paths, "y": target})


def _run(
    folder: Path, said: dict[str, Any], model: dict[str, Any], data: Any, evaluation: dict[str, Any] | None = None
) -> Path:
    recipe = {
        **said,
        "model": model,
        "training": {"max_steps": 6, "batch_size": 16},
        "evaluation": {"baselines": False, **(evaluation or {})},
    }
    return danlu.run(recipe, data=pl.DataFrame(data), output=folder, name="run").path


def _tables() -> list[Case]:
    found: list[Case] = []

    def add(family: str, task: str, words: str, **options: Any) -> None:
        found.append(
            Case(f"table {family} {words}", family, words, "table", lambda to: run_table(to, family, task, **options))
        )

    for family in SMALL:
        add(family, "classification", "classification")
        add(family, "regression", "regression")
    cooled = {"calibration": "temperature"}
    decided = {"calibration": "isotonic", "threshold": {"metric": "f1"}, "intervals": "conformal"}
    for family in (
        "mlp",
        "tabm",
        "boosting",
    ):  # a temperature cools the mean of an ensemble's members, not their logits
        add(family, "two", "classification, temperature", evaluation=cooled)
    for family in ("mlp", "boosting"):
        add(family, "two", "classification, isotonic, threshold, conformal", evaluation=decided)
    for task in ("ordinal", "multi-label", "multi-output-regression", "poisson-regression", "quantile-regression"):
        add("mlp", task, task)
    add("tabm", "quantile-regression", "quantile-regression")
    add("mlp", "ordinal", "ordinal, temperature", evaluation={"calibration": "temperature"})
    add("mlp", "regression", "regression, conformal", evaluation={"intervals": "conformal"})
    return found


def _others() -> list[Case]:
    bert = {"name": "hf:bert", "config": ENCODER}
    llama = {"name": "hf:llama", "config": ENCODER}
    found = [
        Case(f"text hf:bert {task}", "hf:bert", task, "text", lambda to, task=task: run_texts(to, task, bert))  # type: ignore[misc]
        for task in ("classification", "ordinal", "regression", "multi-label")
    ]
    for name, config in {
        "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64},
        "modernbert": ENCODER,
        "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2},
        "llama": ENCODER,
    }.items():
        model = {"name": f"hf:{name}", "config": config}
        found.append(
            Case(f"text hf:{name} classification", f"hf:{name}", "classification", "text",
                 lambda to, model=model: run_texts(to, "classification", model))  # type: ignore[misc]
        )  # fmt: skip
    cooled = {"calibration": "temperature"}
    found += [
        Case("text pooled classification, temperature", "hf:bert, pooled", "classification, temperature", "text",
             lambda to: run_texts(to, "classification", {**bert, "pooling": "mean"}, cooled)),
        Case("words hf:bert token-classification", "hf:bert", "token-classification", "words",
             lambda to: run_words(to, bert)),
    ]  # fmt: skip
    for kind in ("corpus", "chat", "preference"):
        task = "preference" if kind == "preference" else "language-modelling"
        found.append(Case(f"{kind} hf:llama {task}", "hf:llama", f"{task} (logits)", kind,
                          lambda to, kind=kind: run_language(to, kind, llama)))  # type: ignore[misc]  # fmt: skip
    for name in ("small-resnet", "timm:test_resnet"):
        for task in ("classification", "regression"):
            found.append(Case(f"image {name} {task}", name, task, "image",
                              lambda to, name=name, task=task: run_images(to, task, {"name": name})))  # type: ignore[misc]  # fmt: skip
    return found


TABLES, OTHERS = tuple(_tables()), tuple(_others())
CASES: tuple[Case, ...] = (*TABLES, *OTHERS)


def row_of(case: Case, found: dict[str, str]) -> str:
    """The row of a case in the table of docs/export.md."""
    return f"| {case.kind} | `{case.family}` | {case.task} | {' | '.join(found[name] for name in COLUMNS)} |"


def rows_of(page: Path) -> list[str]:
    """The rows of a page's table, in its order."""
    inside = page.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()
    return inside[2:]


def forms_of(case: Case, folder: Path) -> dict[str, str]:
    """Export a case in every form; form -> YES where its engine answers as the bundle, NO where it is refused."""
    run, found = case.run(folder), {}
    with each_program_written_once():
        for name in COLUMNS:
            form, into = name.removesuffix(INTO), name.endswith(INTO)
            try:
                danlu.export(run, folder / name.replace(" ", ""), to=form, into=into)
                found[name] = YES
            except ArgumentError:  # what answers otherwise is another error, and a fault
                found[name] = NO
    return found


@contextmanager
def each_program_written_once() -> Iterator[None]:
    """Let forms share the graphs of equal programs, which take most of the time."""
    import onnx
    import torch

    kept: dict[str, bytes] = {}
    write = torch.onnx.export

    def export(program: Any, samples: Any, **options: Any) -> Any:
        tensors = {**program.state_dict, **program.constants}
        weights = {name: values.detach().numpy().tobytes() for name, values in tensors.items()}
        key = hashlib.sha256(repr((str(program), weights, options)).encode()).hexdigest()
        if key not in kept:
            written: Any = write(program, samples, **options)
            kept[key] = written.model_proto.SerializeToString()
        return SimpleNamespace(model_proto=onnx.load_from_string(kept[key]))

    with mock.patch.object(torch.onnx, "export", export):
        yield
