"""How long the main job takes and how good its models are, each beside its trivial and its linear baseline.

    python benchmarks/main_job.py            # start-up, five seeds of breast-cancer, one run of every other built-in
    python benchmarks/main_job.py digits     # one built-in alone

Every row is a process of its own, timed from outside: imports, data, training, baselines and report are all in it.
Baselines have scikit-learn's documented settings on standardised columns (LogisticRegression C=1, Ridge alpha=1),
pixels (C=1) or TF-IDF of words and pairs (C=10), on the same split. Rows that the model loses are kept.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DANLU = Path(sys.executable).parent / "danlu"
START_UP = (("--help",), ("check", "wine"), ("check", "breast-cancer"))
SEEDS = 5


def timed(*arguments: str) -> tuple[float, str]:
    """Wall seconds and stdout of one command."""
    started = time.perf_counter()
    done = subprocess.run([DANLU, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def start_up() -> None:
    print(f"{'command':<28} {'wall s, best of 5':>18}")
    for arguments in START_UP:
        print(f"danlu {' '.join(arguments):<22} {min(timed(*arguments)[0] for _ in range(5)):>18.2f}")


def job(name: str, seed: int, folder: str) -> tuple[float, dict[str, Any]]:
    seconds, text = timed("run", name, "--json", "-o", folder, "--set", f"seed={seed}")
    return seconds, json.loads(text)["evaluation"]


def row(name: str, seed: int, folder: str) -> None:
    """One run: its time, its main test metric and those of the baselines."""
    seconds, figures = job(name, seed, folder)
    metric = figures["main"]["metric"]
    others = ", ".join(f"{other} {found['test'][metric]['value']:.4g}" for other, found in figures["baselines"].items())
    print(f"{name:<18} {seed:>4} {seconds:>7.1f}  {metric} {figures['test'][metric]['value']:.4g} ({others})")


def mean_auroc(folder: str) -> None:
    """The mean test AUROC of breast-cancer over SEEDS splits, and logistic regression's on the same splits."""
    runs = [job("breast-cancer", seed, folder)[1] for seed in range(SEEDS)]
    model = sum(run["test"]["auroc"]["value"] for run in runs) / SEEDS
    linear = sum(run["baselines"]["logistic-regression"]["test"]["auroc"]["value"] for run in runs) / SEEDS
    print(f"breast-cancer, mean test AUROC of {SEEDS} seeds: model {model:.5f}, logistic regression {linear:.5f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            for name in sys.argv[1:]:
                row(name, 0, folder)
        else:
            start_up()
            print(f"\n{'recipe':<18} {'seed':>4} {'wall s':>7}  main test metric (baselines')")
            for name in ("breast-cancer", "wine", "diabetes", "digits", "speeches", "speeches-corpus"):
                row(name, 0, folder)
            mean_auroc(folder)
