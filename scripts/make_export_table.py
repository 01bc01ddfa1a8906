"""Write the table of docs/export.md and docs/export.zh.md: every family and task is run and exported in every form.

    python scripts/make_export_table.py [--again]

Rows that are there are kept, unless `--again` is given; all of them take some ten minutes.
`tests/exporters/test_every_form.py` holds what it writes.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.export_cases import CASES, Case, forms_of

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- made by scripts/make_export_table.py -->", "<!-- until here -->"
COLUMNS = ("onnx", "openvino", "torch-export", "onnx --into", "openvino --into")
WORDS = {
    "export.md": ("data", "family", "task"),
    "export.zh.md": ("数据", "模型族", "任务"),
}


Key = tuple[str, str, str]


def row_of(key: Key, found: dict[str, str]) -> str:
    return f"| {key[0]} | `{key[1]}` | {key[2]} | {' | '.join(found[name] for name in COLUMNS)} |"


def rows_there() -> dict[Key, str]:
    """The rows of the page, by what they are about."""
    lines = (DOCS / "export.md").read_text(encoding="utf-8").splitlines()
    cells = [(line, [cell.strip().strip("`") for cell in line.strip("|").split("|")]) for line in lines]
    return {(one[0], one[1], one[2]): line for line, one in cells if len(one) == 3 + len(COLUMNS)}


def write(rows: dict[Key, str]) -> None:
    ordered = [rows[key_of(case)] for case in CASES if key_of(case) in rows]
    for name, words in WORDS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        head = f"| {' | '.join((*words, *(f'`{column}`' for column in COLUMNS)))} |"
        lines = [head, "|" + "---|" * (len(words) + len(COLUMNS)), *ordered]
        before, after = text[: text.index(BEGIN)], text[text.index(END) :]
        (DOCS / name).write_text(before + "\n".join([BEGIN, "", *lines, "", after]), encoding="utf-8")


def key_of(case: Case) -> Key:
    return case.kind, case.family, case.task


def main() -> None:
    rows = {} if "--again" in sys.argv else rows_there()
    for case in CASES:
        if key_of(case) in rows:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[key_of(case)] = row_of(key_of(case), forms_of(case, Path(folder)))
            print(rows[key_of(case)], flush=True)
        write(rows)


if __name__ == "__main__":
    main()
