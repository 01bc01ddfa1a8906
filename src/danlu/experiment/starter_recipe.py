"""Render a commented recipe for a dataset: findings as comments, the keys that users change most as keys."""

import os
import re
from pathlib import Path
from typing import Any

from danlu.core.component import components
from danlu.data.columns import Column
from danlu.data.dataset import Dataset
from danlu.data.sources.text_bytes import UTF_8
from danlu.recipe.schema import Recipe


def minimal_recipe(source: str, dataset: Dataset) -> dict[str, Any]:
    """Return the shortest recipe for a dataset, as plain values."""
    data = {"source": source, "target": dataset.target} if dataset.target else {"source": source}
    return {"data": data}


def relative_source(source: str, recipe: Path) -> str:
    """Return the source relative to the recipe's folder, where relative paths are resolved."""
    if source.startswith("builtin:") or Path(source).is_absolute():
        return source
    return os.path.relpath(source, recipe.absolute().parent)


def render_recipe(source: str, dataset: Dataset, resolved: Recipe) -> str:
    """Render the recipe: findings as comments, the keys that users change most as keys."""
    training = resolved.training
    optimizer = training.optimizer.model_dump(exclude_none=True)
    target = f"\n  target: {_quoted(dataset.target)}" if dataset.target else ""
    by = resolved.data.split.by.model_dump() if resolved.data.split.by else {}
    split_by = by["name"] if len(by) == 1 else f"{{{by['name']}: {_quoted(by['column'])}}}"
    lines = [
        f"# {dataset.frame.height:,} rows of {dataset.kind} data. Check with `danlu check`, run with `danlu run`.",
        f"name: {_run_name(dataset)}",
        "seed: 0                  # every random choice follows from it",
        "",
        "data:",
        f"  source: {_quoted(source)}{target}",
        f"  task: {dataset.task}   # {dataset.task_reason}",
        *_form_lines(dataset),
        *_column_lines(dataset),
        f"  split: {{validation: 0.15, test: 0.15, by: {split_by}}}   # {_choices('splitter')}",
    ]
    lines += [
        *dataset.kind.starter_lines,
        "",
        *_model_line(resolved, dataset.kind.name),
        "",
        "training:",
        f"  epochs: {training.epochs}",
        f"  batch_size: {training.batch_size}",
        f"  optimizer: {{name: {optimizer['name']}, lr: {optimizer['lr']}}}   # {_choices('optimizer')}",
        f"  schedule: {{name: cosine, warmup: 0.05}}   # {_choices('schedule')}",
        "  early_stopping: {metric: validation/loss, patience: 10}",
        "",
        "# Every other key has a default: the run's recipe.yaml shows them, `danlu schema` explains them.",
    ]
    return "\n".join(lines) + "\n"


def _choices(table: str) -> str:
    """Return a key's names, with columns where needed: `random | {group: COLUMN}`."""
    found = components(table).items()
    return " | ".join(f"{{{name}: COLUMN}}" if "column" in options.model_fields else name for name, options in found)


def _form_lines(dataset: Dataset) -> list[str]:
    """Return how the file is read, where that is not obvious."""
    form = dataset.form
    encoding = form.encoding if form.one_encoding and form.encoding != UTF_8 else None
    doubt = "".join(f", or {name}: {read!r} for {chosen!r}" for name, (chosen, read) in form.other_encodings.items())
    return [f"  encoding: {_quoted(encoding)}   # found{doubt}"] if encoding else []


def _column_lines(dataset: Dataset) -> list[str]:
    """Return how the columns are read: less obvious ones as keys, others as comments."""
    if not dataset.columns:
        return []
    width = max(len(_quoted(column.name)) for column in dataset.columns) + 1
    asked = {question.subject for question in dataset.questions}
    said = [column for column in dataset.columns if column.reading.options and column.name not in asked]
    return [
        "  # columns: overrides what was found, e.g. {" + _quoted(dataset.columns[0].name) + ": drop}. Found:",
        *(f"  #   {_quoted(column.name) + ':':<{width}} {_describe_column(column)}" for column in dataset.columns),
        *(f"  # {question}" for question in dataset.questions),
        *(["  columns:"] if said else []),
        *(f"    {_quoted(column.name)}: {{{_said(column)}}}" for column in said),
    ]


def _said(column: Column) -> str:
    """Return what a recipe says to read a column as it was read."""
    options = {"type": column.type, **column.reading.options}
    return ", ".join(f"{key}: {_quoted(value)}" for key, value in options.items())


def _describe_column(column: Column) -> str:
    missing = f", {column.missing} missing" if column.missing else ""
    shown = f", {column.reading.describe()}" if column.reading.describe() else ""
    return f"{column.type if column.used else 'not used'} ({column.reason}{missing}{shown})"


def _model_line(resolved: Recipe, kind: str) -> list[str]:
    assert resolved.model is not None
    options = resolved.model.model_dump(exclude_none=True)
    shown = {key: value for key, value in options.items() if key not in ("finetune",)}
    written = ", ".join(f"{key}: {_value(value)}" for key, value in shown.items())
    families = components("model").items()
    names = [each for name, family in families for each, of in family.catalog(name, None) if of == kind]  # type: ignore[attr-defined]  # they are models
    return [f"model: {{{written}}}   # {' | '.join(names)}"]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)


def _quoted(text: str | None) -> str:
    """Return a YAML scalar, quoted if YAML would read it as something else."""
    text = text or ""
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./ -]*", text) and text.lower() not in ("true", "false", "null")
    return text if plain and text == text.strip() else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _run_name(dataset: Dataset) -> str:
    """Derive the run's name from the data's."""
    stem = Path(dataset.origin.removeprefix("builtin:")).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "model"
