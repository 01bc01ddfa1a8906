"""Write the table of docs/export.md and docs/export.zh.md: every family and task is run and exported in every form.

    python scripts/make_export_table.py

It takes some ten minutes. `tests/exporters/test_every_form.py` holds what it writes.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.export_cases import CASES, forms_of

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- made by scripts/make_export_table.py -->", "<!-- until here -->"
COLUMNS = ("onnx", "openvino", "torch-export", "onnx --into", "openvino --into")
WORDS = {
    "export.md": ("data", "family", "task"),
    "export.zh.md": ("数据", "模型族", "任务"),
}


def row_of(kind: str, family: str, task: str, found: dict[str, str]) -> str:
    return f"| {kind} | `{family}` | {task} | {' | '.join(found[name] for name in COLUMNS)} |"


def main() -> None:
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(case.kind, case.family, case.task, forms_of(case, Path(folder))))
            print(rows[-1], flush=True)
    for name, words in WORDS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        head = f"| {' | '.join((*words, *(f'`{column}`' for column in COLUMNS)))} |"
        lines = [head, "|" + "---|" * (len(words) + len(COLUMNS)), *rows]
        before, after = text[: text.index(BEGIN)], text[text.index(END) :]
        (DOCS / name).write_text(before + "\n".join([BEGIN, "", *lines, "", after]), encoding="utf-8")


if __name__ == "__main__":
    main()
