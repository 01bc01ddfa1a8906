"""Answer rows: python answer.py rows.csv (or rows.jsonl; - for JSON lines on stdin) writes one JSON line a row.

Needs Python and numpy alone. As a module: `open_model(folder).answer([{"column": value, ...}, ...])`.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from preparation import Model, open_model  # type: ignore[import-not-found]  # beside this file

BATCH = 256


def rows_of(name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file of CSV or JSON lines."""
    with sys.stdin if name == "-" else Path(name).open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file) if name.endswith(".csv") else map(json.loads, file)


def answer_all(model: Model, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the answer to each row, in order."""
    waiting: list[Mapping[str, Any]] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == BATCH:
            yield from model.answer(waiting)
            waiting = []
    yield from model.answer(waiting) if waiting else ()


if __name__ == "__main__":
    for told in answer_all(open_model(Path(__file__).parent), rows_of(sys.argv[1])):
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
