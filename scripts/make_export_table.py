"""Write the table of docs/export.md and docs/export.zh.md: every family and task is run and exported in every form.

    python scripts/make_export_table.py [--again]

Rows that are there are kept, unless `--again` is given; all of them take some ten minutes. The tests run the same
cases, and hold each row of both pages to what they see.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.export_cases import BEGIN, CASES, COLUMNS, END, Case, forms_of, row_of, rows_of

DOCS = Path(__file__).parents[1] / "docs"
WORDS = {
    "export.md": ("data", "family", "task"),
    "export.zh.md": ("数据", "模型族", "任务"),
}


def beginning(case: Case) -> str:
    """What a row begins with: which case it is about."""
    return row_of(case, dict.fromkeys(COLUMNS, "")).rsplit(" |", len(COLUMNS) + 1)[0]


def write(rows: dict[str, str]) -> None:
    ordered = [rows[case.name] for case in CASES if case.name in rows]
    for name, words in WORDS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        head = f"| {' | '.join((*words, *(f'`{column}`' for column in COLUMNS)))} |"
        lines = [head, "|" + "---|" * (len(words) + len(COLUMNS)), *ordered]
        before, after = text[: text.index(BEGIN)], text[text.index(END) :]
        (DOCS / name).write_text(before + "\n".join([BEGIN, "", *lines, "", after]), encoding="utf-8")


def main() -> None:
    there = [] if "--again" in sys.argv else rows_of(DOCS / "export.md")
    rows = {case.name: row for case in CASES for row in there if row.startswith(beginning(case) + " |")}
    for case in CASES:
        if case.name not in rows:
            with tempfile.TemporaryDirectory() as folder:
                rows[case.name] = row_of(case, forms_of(case, Path(folder)))
                print(rows[case.name], flush=True)
            write(rows)
    write(rows)  # in the order of the cases, without those that are no more


if __name__ == "__main__":
    main()
