"""Answer rows: python run.py rows.csv (or rows.jsonl) writes one JSON line a row. Needs onnxruntime and numpy alone."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before it is imported: it sends events to its maker
import onnxruntime

TOLD = json.loads(Path(__file__).with_name("danlu.json").read_text(encoding="utf-8"))["runner"]
SESSION = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))


def answer(rows):
    given, labels, limit = {}, TOLD["labels"], TOLD["threshold"]
    for name, port in TOLD["inputs"].items():
        cells = [port["gap"] if str(row[name]).strip() in port["missing_words"] else row[name] for row in rows]
        given[name] = np.array(cells, port["dtype"]).reshape(len(rows), *port["shape"])
    for values in SESSION.run([TOLD["output"]], given)[0].tolist():
        best = values.index(max(values)) if limit is None else int(values[-1] >= limit)
        above = [label for label, value in zip(labels, values) if TOLD["several"] and value >= limit]
        chosen = {"prediction": above if TOLD["several"] else labels[best]} if labels else {}
        yield {**chosen, **dict(zip(TOLD["names"], values))}


if __name__ == "__main__":
    with Path(sys.argv[1]).open(encoding="utf-8-sig", newline="") as file:
        read = csv.DictReader(file) if sys.argv[1].endswith(".csv") else map(json.loads, file)
        print(*map(json.dumps, answer(list(read))), sep="\n")
