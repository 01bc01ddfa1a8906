"""Does a server keep its promises through reloads, successors and killed workers? Counts what became of each request.

    OMP_NUM_THREADS=1 python benchmarks/soak.py    # 100,000 requests, 50 reloads, 20 successors, 20 kills: some minutes
    OMP_NUM_THREADS=1 python benchmarks/soak.py --requests 5000 --reloads 4 --successors 2 --kills 2

Two workers answer rows of a store with two versions, to clients that ask without a pause. Every answer is compared with
what its version says itself. Ends with 1 where a request was lost without an honest error, or answered wrongly.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
from tests.support.soak import Soak, own_answers

MODELS = {"1": {"name": "mlp", "hidden": [16]}, "2": "linear"}


def prepare(folder: Path) -> Path:
    """Train two versions, and return their store."""
    import danlu

    for version, model in MODELS.items():
        recipe = {"name": "tumour", "data": {"source": "builtin:breast-cancer"}, "model": model,
                  "training": {"epochs": 2}, "evaluation": {"baselines": False}}  # fmt: skip
        run = danlu.run(recipe, output=folder / "runs" / version).path
        shutil.copytree(run / "model", folder / "store" / "tumour" / version)
    (folder / "store" / "tumour" / "serving.json").write_text('{"default": "1"}', encoding="utf-8")
    return folder / "store"


def main() -> int:
    from danlu.data.builtin import read_builtin

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--successors", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(Path(folder))
        frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()
        rows = frame.select(pl.col(pl.Float64, pl.Int64)).to_dicts()
        soak, began = Soak(store, rows, *own_answers(store, rows), seed=chosen.seed), time.monotonic()
        found = soak.run(chosen.requests, chosen.clients, chosen.reloads, chosen.successors, chosen.kills)
    print(f"{found.requests:,} requests in {time.monotonic() - began:.0f} s, {dict(found.done)}")
    print(f"right {found.right:,}, wrong {found.wrong}, refused {dict(found.refused)}")
    print(f"cut by a kill {found.cut}, lost otherwise {len(found.lost)}")
    for line in (*found.lost[:10], *found.wrong_answers):
        print(line)
    return 0 if found.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
