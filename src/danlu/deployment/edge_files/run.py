"""Answer rows: python run.py rows.csv (or rows.jsonl) writes one JSON line a row. Needs onnxruntime and numpy alone."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

TOLD = json.loads(Path(__file__).with_name("danlu.json").read_text(encoding="utf-8"))["runner"]
SESSION = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))


def answer(rows: list[dict[str, object]]) -> list[dict[str, object]]:  # noqa: D103
    given, labels, limit = {}, TOLD["labels"], TOLD["threshold"]
    for port in TOLD["inputs"]:
        found = [None if str(row[port["name"]]).strip() in port["missing_words"] else row[port["name"]] for row in rows]
        words = np.array(["" if cell is None else str(cell) for cell in found], object)
        typed = words if port["dtype"] == "string" else np.array(found, port["dtype"])
        given[port["name"]] = typed.reshape(len(rows), *port["shape"])
    values = SESSION.run([TOLD["output"]], given)[0].tolist()
    above = [[label for label, one in zip(labels, row) if limit is not None and one >= limit] for row in values]
    best = [labels and labels[row.index(max(row)) if limit is None else int(row[-1] >= limit)] for row in values]
    chosen = above if TOLD["several"] else best
    told = [dict(zip(["prediction", *TOLD["names"]], [label, *row])) for label, row in zip(chosen, values)]
    return told if labels else [dict(zip(TOLD["names"], row)) for row in values]


if __name__ == "__main__":
    with Path(sys.argv[1]).open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file) if sys.argv[1].endswith(".csv") else map(json.loads, file))
        print(*(json.dumps(told, ensure_ascii=False) for told in answer(lines)), sep="\n")
