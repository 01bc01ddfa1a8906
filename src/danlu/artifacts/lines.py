"""JSON-lines files that grow during a run. A last line cut off by a crash is ignored."""

import json
from pathlib import Path
from typing import Any

from danlu.artifacts.files import write_text, translate_write_errors

THROUGHPUT, ALARMS = "throughput.jsonl", "alarms.jsonl"


def append_jsonl(file: Path, record: dict[str, Any]) -> None:
    """Append one record.

    Raises:
        ArtifactError: it cannot be written.
    """
    with translate_write_errors(file), file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """Read the complete lines; an empty list if there is no file."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def truncate_jsonl(file: Path, step: int) -> None:
    """Drop the lines after `step`, which a resumed run writes again."""
    if not file.is_file():
        return
    kept = [line for line in read_jsonl(file) if line["step"] <= step]
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
