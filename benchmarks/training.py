"""Steps a second of danlu's training loop beside a loop by hand and frameworks, and what each memory option costs.

    python -m pip install 'danlu[all,bench]'
    python benchmarks/training.py                     # all sections
    python benchmarks/training.py table --rounds 5    # table, images, gpt or memory

Every section is one process on one thread. In each round every way trains the same model from the same weights for as
many steps, in turns; the first steps are not timed, nor is what comes before and after the loop. Seconds are those of
the processor that the process took, so that other work on the machine counts little; on a quiet machine they are those
of the clock. Ratios are taken within a round, and the median round counts.
"""

import argparse
import copy
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from training_cases import CASES, CLIP_NORM, LR, WEIGHT_DECAY, Case
from training_memory import compare_memory
from training_ways import PEERS, Way, ways

ROUNDS = 7
LIMIT, OURS = "loop by hand (the limit)", "danlu"


class Enough(Exception):
    """Ends a way of training that has no end of its own."""


class Clock:
    """Times the steps of a model that is hooked to it, from the start of one forward pass to that of another."""

    def __init__(self, warm: int, steps: int) -> None:
        self.left, self.steps = warm, steps
        self.began: float | None = None
        self.seconds = 0.0

    def tick(self, *_: object) -> None:
        if self.left:
            self.left -= 1
        elif self.began is None:
            self.began, self.left = time.process_time(), self.steps - 1
        else:
            self.seconds = time.process_time() - self.began
            raise Enough


def timed(case: Case, way: Way) -> tuple[float, float]:
    """CPU seconds a step, and the loss after the last."""
    model, clock = copy.deepcopy(case.fitting.model), Clock(case.warm, case.steps)
    torch.manual_seed(0)
    hook = model.register_forward_pre_hook(clock.tick)
    gc.collect()
    try:
        way(case, model)
    except Enough:
        hook.remove()
    return clock.seconds / case.steps, case.judge(model)


def compare(case: Case, rounds: int) -> None:
    """One table: a row a way."""
    found = ways()
    there = {name: way for name, way in found.items() if way is not None}
    seconds: dict[str, list[float]] = {name: [] for name in there}
    losses: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in there.items():
            taken, losses[name] = timed(case, way)
            seconds[name].append(taken)
    print(f"\n{case.title}; median of {rounds} rounds of {case.steps} steps after {case.warm}")
    print(f"{'':<38}{'steps/s':>10}{'of the limit':>14}{'danlu is':>10}{'loss after':>12}")
    for name in found:
        if name not in there:
            print(f"{name:<38}{'not installed':>24}")
            continue
        rate = 1 / statistics.median(seconds[name])
        print(
            f"{name:<38}{rate:>10,.1f}{ratio(seconds[LIMIT], seconds[name]):>13.3f}x"
            f"{ratio(seconds[name], seconds[OURS]):>9.2f}x{losses[name]:>12.4f}",
            flush=True,
        )


def ratio(one: list[float], other: list[float]) -> float:
    """The median over rounds of how many times as long the one took as the other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def versions() -> str:
    found = []
    for package in dict.fromkeys(package for package, _ in PEERS.values()):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def main() -> None:
    sections: dict[str, Callable[[Path, int], None]] = {
        name: lambda folder, rounds, make=make: compare(make(folder), rounds)  # type: ignore[misc]
        for name, make in CASES.items()
    }
    sections["memory"] = lambda folder, rounds: compare_memory(CASES["gpt"](folder), rounds)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*sections, []], help="all when left out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{versions()}; CPU, one thread, no workers")
    print(f"AdamW fused, lr {LR}, weight decay {WEIGHT_DECAY} of matrices, gradient clipped at {CLIP_NORM}, fp32")
    for name in asked.sections or sections:
        with tempfile.TemporaryDirectory() as folder:
            sections[name](Path(folder), asked.rounds)


if __name__ == "__main__":
    main()
