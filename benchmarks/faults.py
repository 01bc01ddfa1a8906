"""What faults leave behind: of processes that die at any change of the disk, of bits that turn, of races for a name.

    OMP_NUM_THREADS=1 python benchmarks/faults.py                    # all of it, some half an hour on two cores
    OMP_NUM_THREADS=1 python benchmarks/faults.py deaths --every 5   # each fifth rename, mkdir, fsync and deletion
    OMP_NUM_THREADS=1 python benchmarks/faults.py flips --count 500
    OMP_NUM_THREADS=1 python benchmarks/faults.py bundles --count 1000
    OMP_NUM_THREADS=1 python benchmarks/faults.py races
    OMP_NUM_THREADS=1 python benchmarks/faults.py kills --count 5

`deaths`: each command dies in a warm fork instead of its n-th change of the disk, for every n. What it left must be
resumable or overwritable to the same bytes as if nothing had been, or nothing at all. `kills` is the proof that this is
what happens outside, too: `kill -9` at moments drawn evenly from the time that a training takes, with everything random
switched on. `flips`: one bit of a file that a later command reads is turned, and the command says the same as before or
refuses. `bundles`: the same for bits of a whole bundle, and for each field of its manifest, changed with all checksums
made anew, as a forger does it. `races`: four processes ask for the same name at once, and none owns it beside another.

Ends with 1 if anything was lost, stuck, or silently another.
"""

import argparse
import json
import multiprocessing
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tests.support.faults import (
    Case,
    command,
    deaths,
    ends,
    flips,
    readers_of,
    turned,
    wine_recipe,
    wine_search,
    write_recipe,
)
from tests.support.forgeries import ODD, fields, forge

DANLU = (sys.executable, "-m", "danlu")
SEED, KILLS, FLIPS, BUNDLE_FLIPS, RACES, RACERS, STEPS = 0, 20, 2000, 10_000, 1500, 4, 90
FLIPS_A_PROCESS = 250
SMALL = wine_recipe(hidden=8, steps=12, resamples=20)
RECIPES: dict[str, dict[str, Any]] = {
    "plain": SMALL,
    "search": {**SMALL, "tuning": wine_search(3)},
    "folds": {**SMALL, "evaluation": {**SMALL["evaluation"], "folds": 2}},
    "refit": {**SMALL, "evaluation": {**SMALL["evaluation"], "folds": {"folds": 2, "final": "refit"}}},
    "trees": {**SMALL, "model": {"name": "boosting", "rounds": 5}, "training": {"device": "cpu"}},
}


def runs_of(folder: Path) -> dict[str, Path]:
    """One finished run of each recipe."""
    made = {}
    for name, values in RECIPES.items():
        recipe = write_recipe(values, folder / f"{name}.yaml")
        done = command("run", recipe, "-o", folder / "finished", "--name", name)
        if done.code:
            sys.exit(f"{name}: {done.said}")
        made[name] = folder / "finished" / name
    return made


Runs = dict[str, Path]  # a finished run of each recipe


def _training(name: str, word: str, recipe: str) -> Callable[[Path, Runs], Case]:
    """Return the case of a command that trains, and is resumed or overwritten."""

    def case(folder: Path, finished: Runs) -> Case:
        asked = (word, str(folder / f"{recipe}.yaml"), "-o", "FOLDER", "--name", "mine")
        resumed = (word, "--resume", "FOLDER/mine")
        return Case(name, _nothing, asked, "mine", {"resumed": resumed, "overwritten": (*asked, "--overwrite")})

    return case


def _replacing(folder: Path, finished: Runs) -> Case:
    old, plain = finished["trees"], str(folder / "plain.yaml")
    asked = ("train", plain, "-o", "FOLDER", "--name", "mine", "--overwrite")
    before, holds = partial(_copy_as_mine, old), partial(lost, old=old)
    return Case("replace", before, asked, "mine", {"overwritten": asked}, holds)


def _evaluating(folder: Path, finished: Runs) -> Case:
    trained = folder / "trained"
    copy(finished["plain"], trained)
    for path in (trained / "evaluation.json", trained / "report.html", trained / "looks.jsonl"):
        path.unlink()
    asked = ("evaluate", "FOLDER/mine")
    return Case("evaluate", partial(_copy_as_mine, trained), asked, "none", {"again": asked}, unopened)


def _predicting(folder: Path, finished: Runs) -> Case:
    asked = ("predict", str(finished["plain"]), "builtin:wine", "-o", "FOLDER/a.csv")
    return Case("predict", _nothing, asked, "a.csv", {"again": asked, "overwritten": (*asked, "--overwrite")}, torn)


def _exporting(folder: Path, finished: Runs) -> Case:
    asked = ("export", str(finished["trees"]), "FOLDER/exported")
    return Case("export", _nothing, asked, "exported", {"again": asked})


# Every verb that writes. A new one gets a line: what it needs, its words, what it makes, and the ways to go on. One
# that makes a file or a folder of a bundle is like `_exporting`; one that trains is `_training(NAME, VERB, RECIPE)`.
# What is no command of its own, as a job of a server, gives `Case.call`, the function that does it in the fork.
VERBS: dict[str, Callable[[Path, Runs], Case]] = {
    "train": _training("train", "train", "plain"),
    "run": _training("run", "run", "plain"),
    "trees": _training("trees", "run", "trees"),
    "tune": _training("tune", "tune", "search"),
    "folds": _training("folds", "run", "folds"),
    "refit": _training("refit", "run", "refit"),
    "replace": _replacing,
    "evaluate": _evaluating,
    "predict": _predicting,
    "export": _exporting,
}


def _nothing(at: Path) -> None:
    """Need nothing."""


def _copy_as_mine(run: Path, at: Path) -> None:
    copy(run, at / "mine")


def copy(run: Path, to: Path) -> None:
    shutil.copytree(run, to)


def lost(at: Path, old: Path) -> str:
    """Whether neither the old run nor a checkpoint of the new one is there."""
    for folder in (at / "mine", at / "mine" / ".replaced"):
        if (folder / "model" / "bundle.json").exists() or any(folder.glob("checkpoints/step-*")):
            return ""
    done = command("doctor", at / "mine")  # between two moves of the old one's files, which it undoes
    back = ends(at / "mine") == ends(old)
    return "" if back else f"the old run is lost: {done.said}"


def unopened(at: Path) -> str:
    """Whether the bundle of a run can no longer be opened."""
    done = command("predict", at / "mine", "builtin:wine", "-o", at / "answers.csv")
    (at / "answers.csv").unlink(missing_ok=True)
    return "" if done.code == 0 else done.said


def torn(at: Path) -> str:
    """Whether a file of predictions is there in part."""
    return "" if not (at / "a.csv").exists() or len((at / "a.csv").read_text().splitlines()) == 179 else "half a file"


def show_deaths(folder: Path, every: int, first: int, only: str | None) -> int:
    bad = 0
    finished = runs_of(folder)
    for name in VERBS if only is None else only.split(","):
        case = VERBS[name](folder, finished)
        began, found = time.perf_counter(), Counter[str]()
        for change, how, wrong in deaths(case, folder, every, first):
            found["WRONG" if wrong else how] += 1
            if wrong:
                print(f"  {case.name}, change {change}: {how}: {wrong}", flush=True)
        bad += found["WRONG"]
        told = ", ".join(f"{count} {how}" for how, count in sorted(found.items()))
        print(f"{case.name}: {sum(found.values())} deaths: {told} ({time.perf_counter() - began:.0f} s)", flush=True)
    return bad


def _own(folder: str, start: Any, owners: Any, seen: Any, overwrite: bool) -> None:
    """Own a name for a moment, and count who else does."""
    from danlu.artifacts.run import RunDirectory
    from danlu.errors import DanluError

    start.wait()
    try:
        with RunDirectory.create(Path(folder), name="r", folder="mine", overwrite=overwrite, needed_bytes=1) as run:
            with owners.get_lock():
                owners.value += 1
                seen.value += owners.value > 1
            (run.path / "recipe.yaml").touch()
            with owners.get_lock():
                owners.value -= 1
            raise ZeroDivisionError  # it came to nothing, and the name is free again while others ask for it
    except (ZeroDivisionError, DanluError):
        pass


def show_races(folder: Path, count: int) -> int:
    forks, bad, failed = multiprocessing.get_context("fork"), 0, 0
    import danlu.artifacts.run  # noqa: F401 - before the forks

    for number in range(count):
        start, owners, seen = forks.Barrier(RACERS), forks.Value("i", 0), forks.Value("i", 0)
        given = [bool((each + number) % 3) for each in range(RACERS)]
        racing = [forks.Process(target=_own, args=(str(folder / "race"), start, owners, seen, each)) for each in given]
        for process in racing:
            process.start()
        for process in racing:
            process.join()
        bad += seen.value
        failed += any(process.exitcode for process in racing)
    print(
        f"races: {bad} double owners in {count:,} races of {RACERS} processes; {failed} ended otherwise than foreseen"
    )
    return bad + failed


def _flip(run: Path, folder: Path, count: int, seed: int, found: Any) -> None:
    """In a process of its own, since a damaged file may end a library's process."""
    from danlu.core.console import silenced

    folder.mkdir()
    with silenced():
        for each in flips(readers_of(run, folder), count, seed, folder):
            found.put(each)
    found.put(None)


def show_flips(folder: Path, count: int) -> int:
    write_recipe(RECIPES["plain"], folder / "plain.yaml")
    command("run", folder / "plain.yaml", "-o", folder / "flipped", "--name", "plain")
    forks, tally, bad = multiprocessing.get_context("spawn"), Counter[tuple[str, str]](), 0
    for batch in range(0, count, FLIPS_A_PROCESS):
        found = forks.Queue()
        size = min(FLIPS_A_PROCESS, count - batch)
        asked = (folder / "flipped" / "plain", folder / f"flips-{batch}", size, SEED + batch, found)
        process = forks.Process(target=_flip, args=asked)
        process.start()
        while process.is_alive() or not found.empty():
            try:
                each = found.get(timeout=1)
            except queue.Empty:
                continue
            if each is None:
                break
            tally[each.reader, each.how if each.how in ("same", "refused") else "WRONG"] += 1
            if each.how not in ("same", "refused"):
                bad += 1
                print(f"  {each.reader}: bit {each.bit} of {each.file}: {each.how}", flush=True)
        process.join()
        if process.exitcode:
            bad += 1
            print(f"  a process of flips ended with {process.exitcode}", flush=True)
        shutil.rmtree(folder / f"flips-{batch}")
    for reader in sorted({reader for reader, _ in tally}):
        told = ", ".join(f"{tally[reader, how]} {how}" for how in ("refused", "same", "WRONG"))
        print(f"flips: {reader}: {told}", flush=True)
    print(f"flips: {sum(tally.values()):,} bits turned, {bad} answered otherwise or ended unforeseen")
    return bad


def _opened(bundle: Path, rows: pl.DataFrame, expected: object) -> str:
    """Ask a bundle; return `refused`, `same`, or what is wrong."""
    import danlu
    from danlu.core.console import silenced
    from danlu.errors import DanluError

    try:
        with silenced():
            answers = danlu.predict(bundle, rows).to_dict(as_series=False)
    except DanluError:
        return "refused"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"unforeseen: {type(error).__name__}: {error}"[:300]
    return "same" if answers == expected else "another answer"


def show_bundles(folder: Path, count: int) -> int:
    """Turn bits of a whole bundle, and forge each field of its manifest."""
    import danlu

    write_recipe(RECIPES["plain"], folder / "plain.yaml")
    command("run", folder / "plain.yaml", "-o", folder / "attacked", "--name", "plain")
    bundle = folder / "attacked" / "plain" / "model"
    rows = pl.read_parquet(bundle / "golden.parquet").drop("label", "answer", "prediction")
    expected = danlu.predict(bundle, rows).to_dict(as_series=False)
    drawn, tally, bad = random.Random(SEED), Counter[tuple[str, str]](), 0  # noqa: S311 - no secret
    files = sorted(path for path in bundle.iterdir() if path.stat().st_size)
    for _ in range(count):
        file = drawn.choice(files)
        bit = drawn.randrange(8 * file.stat().st_size)
        held = turned(file, bit)
        how = _opened(bundle, rows, expected)
        file.write_bytes(held)
        tally["bits", how if how in ("same", "refused") else "WRONG"] += 1
        if how not in ("same", "refused"):
            bad += 1
            print(f"  bit {bit} of {file.name}: {how}", flush=True)
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    for place in fields(manifest):
        for number, value in enumerate((*ODD, None)):
            forge(bundle / "bundle.json", manifest, place, value, takes_out=number == len(ODD))
            how = _opened(bundle, rows, expected)
            tally["fields", how if how in ("same", "refused") else "WRONG"] += 1
            if how not in ("same", "refused"):
                bad += 1
                print(f"  {'.'.join(map(str, place))} = {value!r}: {how}", flush=True)
    for what in ("bits", "fields"):
        told = ", ".join(f"{tally[what, how]} {how}" for how in ("refused", "same", "WRONG"))
        print(f"bundles: {what}: {told}", flush=True)
    return bad


def write_pictures(folder: Path) -> Path:
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
    return write_recipe(values, folder / "squares.yaml")


def show_kills(folder: Path, count: int) -> int:
    """Kill trainings of pictures from outside, and resume them."""
    moments, alike, fell = random.Random(SEED), 0, 0  # noqa: S311 - no secret
    recipe = write_pictures(folder)

    def start(name: str) -> "subprocess.Popen[bytes]":
        words = [*DANLU, "train", str(recipe), "-o", str(folder / "kills"), "--name", name]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began, whole = time.perf_counter(), start("whole")
    if whole.wait():
        sys.exit("the run that nobody kills failed")
    lasts, expected = time.perf_counter() - began, ends(folder / "kills" / "whole")
    print(f"kills: a run of {STEPS} steps, {lasts:.1f} s from its start to its end")
    for number in range(count):
        run, after, process = folder / "kills" / f"run-{number}", moments.uniform(0, lasts), start(f"run-{number}")
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        fell += process.wait() == -signal.SIGKILL
        how = "ended" if (run / "model" / "bundle.json").exists() else "resumed"
        if how == "resumed" and subprocess.run([*DANLU, "train", "--resume", run], capture_output=True).returncode:
            again = [*DANLU, "train", str(recipe), "-o", str(folder / "kills"), "--name", run.name, "--overwrite"]
            subprocess.run(again, check=True, capture_output=True)
            how = "overwritten"
        same = ends(run) == expected
        alike += same
        print(f"  killed after {after:5.2f} s, {how}: {'identical' if same else 'DIFFERS'}", flush=True)
    print(f"kills: {alike} of {count} runs end with the same bytes in every file; {fell} were killed")
    return count - alike


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["deaths", "flips", "bundles", "races", "kills"])
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth change of the disk")
    parser.add_argument("--first", type=int, default=1, help="the first change taken")
    parser.add_argument("--only", help="some cases of the deaths, with commas")
    parser.add_argument("--count", type=int, help="of flips, races or kills; bits of a bundle")
    asked = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        if asked.what in (None, "deaths"):
            bad += show_deaths(folder, asked.every, asked.first, asked.only)
        if asked.what in (None, "flips"):
            bad += show_flips(folder, asked.count or FLIPS)
        if asked.what in (None, "bundles"):
            bad += show_bundles(folder, asked.count or BUNDLE_FLIPS)
        if asked.what in (None, "races"):
            bad += show_races(folder, asked.count or RACES)
        if asked.what in (None, "kills"):
            bad += show_kills(folder, asked.count or KILLS)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
