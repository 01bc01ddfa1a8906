"""Compare the CPU time of two checkouts of danlu, in interleaved pairs.

Cases are help, check, predict, a training step, and the reading of a table of 300,000 rows from CSV and Parquet.

    python benchmarks/versions.py OTHER_CHECKOUT [--pairs 30] [--only step]

Each pair runs both versions one after the other, the order alternating. Printed is the ratio of this version to the
other one, the mean over pairs, with a 95 % interval by bootstrap over pairs. CPU time is user plus system time of the
process and its children; that of a step is the process's own between the first and the last of many steps.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tables import make_files

HERE = Path(__file__).parents[1]
STEPS = """
import sys, time
from torch.optim.optimizer import register_optimizer_step_post_hook
import danlu
moments = []
register_optimizer_step_post_hook(lambda *_: moments.append(time.process_time()))
danlu.train({"name": "steps", "data": {"source": "builtin:breast-cancer", "target": "diagnosis"},
             "model": {"name": "mlp", "hidden": [64, 64]},
             "training": {"max_steps": 900, "batch_size": 32}}, output=sys.argv[1])
print((moments[-1] - moments[99]) / (len(moments) - 100))
"""
WRITE_DATA = """
from danlu.data.builtin import read_builtin
read_builtin("builtin:breast-cancer").frame.write_csv("d.csv")
"""
READ = """
import sys, time
from danlu.data.interpret import open_dataset
from danlu.recipe.sections.data import Data
begun = time.process_time()
open_dataset(Data(source=sys.argv[1], target="y"))
print(time.process_time() - begun)
"""
ROWS = 300_000
MAIN = "from danlu.cli.main import main; main()"


def cpu_seconds(checkout: Path, program: str, arguments: list[str], folder: Path, printed: bool) -> float:
    """Run a program with a checkout's source; return its CPU time in seconds, or the number that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if printed:
        return float(done.stdout.splitlines()[-1])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ratio_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Return mean and 95 % interval of ratios, by bootstrap over pairs."""
    draws = np.random.default_rng(0).choice(ratios, (10_000, len(ratios))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(ratios.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", default="", help="measure the cases whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = (HERE, options.other.resolve())
        for number, side in enumerate(sides):
            cpu_seconds(side, MAIN, ["train", "breast-cancer", "--name", str(number)], folder, printed=False)
        cpu_seconds(HERE, WRITE_DATA, [], folder, printed=False)
        make_files(folder, ROWS)
        print(f"{'case':<16}{'this s':>10}{'other s':>10}{'ratio':>8}  95 % interval, {options.pairs} pairs")
        for case, program, arguments, printed in (
            ("danlu --help", MAIN, ["--help"], False),
            ("danlu check", MAIN, ["check", "breast-cancer"], False),
            ("danlu predict", MAIN, ["predict", "runs/{side}", "d.csv", "-o", "answers.csv"], False),
            ("training step", STEPS, ["steps-{side}-{pair}"], True),
            ("reading csv", READ, ["table.csv"], True),
            ("reading parquet", READ, ["table.parquet"], True),
        ):
            if options.only not in case:
                continue
            found = np.zeros((options.pairs, 2))
            for pair in range(options.pairs):
                for side in (0, 1) if pair % 2 else (1, 0):
                    said = [argument.format(side=side, pair=pair) for argument in arguments]
                    found[pair, side] = cpu_seconds(sides[side], program, said, folder, printed)
            ratio, low, high = ratio_interval(found[:, 0] / found[:, 1])
            this, other = np.median(found, axis=0)
            print(f"{case:<16}{this:>10.4g}{other:>10.4g}{ratio:>8.3f}  [{low:.3f}, {high:.3f}]", flush=True)


if __name__ == "__main__":
    main()
