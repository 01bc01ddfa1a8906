"""How often a run that was killed at a random moment ends, once resumed, as if it had not been: bit for bit.

    OMP_NUM_THREADS=1 python benchmarks/kills.py             # 20 runs, each killed once
    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 5

Each run is `danlu train` in a process of its own, on the CPU: images changed at random by threads that make batches
ahead, classes oversampled, dropout, an average of the weights, a checkpoint every few steps. `kill -9` falls at a
moment drawn evenly from the time that training takes, checkpoints and validations among it. `danlu train --resume`
takes it to its end, and the files are compared with those of a run that nobody killed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from danlu.recipe.load import check_recipe, dump_recipe

DANLU = (sys.executable, "-m", "danlu")
COMPARED = ("metrics.jsonl", "model/weights.safetensors")
KILLS, SEED, STEPS = 20, 0, 90


def write_recipe(folder: Path) -> Path:
    """Grey squares of two classes, one rarer than the other, and a recipe with every source of randomness on."""
    from PIL import Image

    made = np.random.default_rng(0)
    for label, count in (("left", 90), ("right", 30)):
        (folder / "images" / label).mkdir(parents=True)
        for index in range(count):
            pixels = made.integers(0, 128, (32, 32), dtype=np.uint8)
            half = pixels[:, :16] if label == "left" else pixels[:, 16:]
            half += 80
            Image.fromarray(pixels).save(folder / "images" / label / f"{index:03}.png")
    values = {
        "name": "squares",
        "data": {
            "source": str(folder / "images"),
            "balance": "oversample",
            "augment": [{"rotate": {"degrees": 20}}, {"translate": 0.1}, {"noise": {"std": 0.05}}],
        },
        "model": {"name": "timm:test_resnet", "dropout": 0.2},
        "training": {
            "max_steps": STEPS,
            "batch_size": 16,
            "average": {"ema": {"decay": 0.9}},
            "checkpoint": {"every_steps": 7},
            "device": "cpu",
            "threads": {"data": 2},
        },
    }
    path = folder / "squares.yaml"
    path.write_text(dump_recipe(check_recipe(values)), encoding="utf-8")
    return path


def started(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    command = [*DANLU, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finished(*arguments: str | Path) -> None:
    subprocess.run([*DANLU, *map(str, arguments)], check=True, capture_output=True)


def begun(run: Path, process: "subprocess.Popen[bytes]") -> float:
    """Wait for the first step to be kept; the moment."""
    while process.poll() is None and not any((run / "checkpoints").glob("step-*")):
        time.sleep(0.002)
    return time.perf_counter()


def ends(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in COMPARED]


def timed(recipe: Path, folder: Path) -> float:
    """A run that nobody kills; seconds from its first checkpoint to its end."""
    process = started("train", recipe, "-o", folder, "--name", "whole")
    began = begun(folder / "whole", process)
    if process.wait() != 0:
        sys.exit(f"the run that nobody kills failed: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]
    return time.perf_counter() - began


def killed(recipe: Path, folder: Path, name: str, after_s: float) -> tuple[int, bool]:
    """Kill a run so long after its first checkpoint and resume it: the newest step kept then, and whether it ran on."""
    run = folder / name
    process = started("train", recipe, "-o", folder, "--name", name)
    begun(run, process)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    was_killed = process.wait() == -signal.SIGKILL
    kept = max((int(path.name[5:]) for path in (run / "checkpoints").glob("step-*[0-9]")), default=0)
    if was_killed and not (run / "model" / "bundle.json").exists():
        finished("train", "--resume", run)
    return kept, was_killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments")
    asked = parser.parse_args()
    moments, alike, fell = random.Random(asked.seed), 0, 0  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        recipe = write_recipe(folder)
        lasts = timed(recipe, folder)
        whole = ends(folder / "whole")
        print(f"a run of {STEPS} steps; {lasts:.1f} s from its first checkpoint to its end")
        for number in range(1, asked.kills + 1):
            after = moments.uniform(0, lasts)
            kept, was_killed = killed(recipe, folder, f"run-{number}", after)
            same = ends(folder / f"run-{number}") == whole
            alike, fell = alike + same, fell + was_killed
            what = f"killed {after:5.2f} s after its first checkpoint, step {kept:>3} kept"
            what = what if was_killed else "ended before it was to be killed"
            print(f"{number:>3}  {what}: {'identical' if same else 'DIFFERS'}", flush=True)
    print(f"{alike} of {asked.kills} runs end with the same bytes of {' and '.join(COMPARED)}; {fell} were killed")
    sys.exit(alike != asked.kills)


if __name__ == "__main__":
    main()
