"""danlu's explanations against shap, shapiq and scikit-learn: coverage, error by calls, calls per second.

    python benchmarks/explain.py coverage --games 17 --runs 8
    python benchmarks/explain.py error --games 6
    python benchmarks/explain.py speed
    python benchmarks/explain.py planted

The peers need numba; give them an environment of their own beside danlu's packages, and run this file with it:

    python -m venv .venv-explain && echo "$PWD/.venv/lib/python3.11/site-packages" \
        > .venv-explain/lib/python3.11/site-packages/danlu.pth
    .venv-explain/bin/pip install shap==0.51.0 shapiq==1.4.1

Games have all their values (benchmarks/explanation/games.py), so errors are known exactly. `error` gives every method
the same number of calls. Games 0 to 2 of each kind chose the constants of the intervals; `coverage` says both parts.
"""

import argparse
import importlib.metadata
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
from danlu.core.seeds import Seed
from danlu.data.builtin import read_builtin
from danlu.explanation.answers import Answer, labels_of
from danlu.explanation.games import Game, interventional_value
from danlu.explanation.permutation import permutation_importance
from danlu.explanation.shapley import ESTIMATORS, choose_estimator, estimate_with, shapley_values
from danlu.explanation.tabular import TabularAnswers
from explanation import cases
from explanation.games import GAMES, all_members, exact_values, make_game

CALLS = (5, 10, 20, 40)  # per player
CHOSEN_ON = 3  # the first games of each kind, which the constants were chosen on
Peer = Callable[[np.ndarray, int, int], np.ndarray]  # values of all coalitions, calls, seed -> estimates


def table_game(values: np.ndarray) -> Game:
    """Return a game whose values are listed."""
    players = int(np.log2(len(values)))
    bits = 2 ** np.arange(players)
    return Game(players, lambda coalitions: values[coalitions @ bits])


def coverage(games: int, runs: int) -> None:
    """Print coverage of the 95 % intervals and their width beside the spread of repeated runs."""
    print(f"{len(GAMES)} kinds x {games} games x {runs} runs; coverage in %, and median width / spread of runs\n")
    made = {(kind, number): make_game(kind, number) for kind in GAMES for number in range(games)}
    for calls in CALLS:
        covered: dict[str, list[float]] = {}
        ratios: dict[str, list[float]] = {}
        later: list[float] = []
        for kind in GAMES:
            for number in range(games):
                values = made[kind, number]
                exact, scale = exact_values(values), float(np.ptp(values))
                players = len(exact)
                chosen = choose_estimator(players, calls * players)
                found = [
                    estimate_with(chosen, table_game(values), calls * players, Seed(1000 * number + run))
                    for run in range(runs)
                ]
                estimates = np.array([each.values for each in found])
                halves = np.array([each.half_widths for each in found])
                inside = float((np.abs(estimates - exact) <= halves + 1e-9 * scale).mean())
                covered.setdefault(kind, []).append(inside)
                later += [inside] if number >= CHOSEN_ON else []
                spread = 1.96 * estimates.std(axis=0, ddof=1) + 1e-6 * scale
                ratios.setdefault(kind, []).append(float(np.median(halves.mean(axis=0) / spread)))
        pooled = np.mean([np.mean(each) for each in covered.values()])
        ratio = np.median([each for kind in ratios.values() for each in kind])
        print(f"{calls} calls a player: pooled {100 * pooled:.1f} %, width {ratio:.2f}", end="")
        print(f"; games that chose nothing: {100 * float(np.mean(later)):.1f} %" if later else "")
        for kind in GAMES:
            print(f"    {kind:28} {100 * float(np.mean(covered[kind])):5.1f} %   {np.median(ratios[kind]):.2f}")
        sys.stdout.flush()


def _of_danlu(name: str, values: np.ndarray, calls: int, seed: int) -> np.ndarray:
    return estimate_with(ESTIMATORS[name], table_game(values), calls, Seed(seed)).values


def _shap_kernel(selection: Any, values: np.ndarray, calls: int, seed: int) -> np.ndarray:
    import shap

    players = int(np.log2(len(values)))
    bits = 2 ** np.arange(players)
    np.random.seed(seed)
    explainer = shap.KernelExplainer(lambda rows: values[rows.astype(np.int64) @ bits], np.zeros((1, players)))
    return np.asarray(
        explainer.shap_values(np.ones((1, players)), nsamples=calls - 2, l1_reg=selection, silent=True)
    ).reshape(-1)


def _shap_permutation(values: np.ndarray, calls: int, seed: int) -> np.ndarray:
    import shap

    players = int(np.log2(len(values)))
    bits = 2 ** np.arange(players)
    masker = shap.maskers.Independent(np.zeros((1, players)))
    explainer = shap.PermutationExplainer(lambda rows: values[rows.astype(np.int64) @ bits], masker, seed=seed)
    return np.asarray(explainer(np.ones((1, players)), max_evals=max(calls, 2 * players + 1), silent=True).values[0])


def _shapiq(name: str, options: dict[str, Any], values: np.ndarray, calls: int, seed: int) -> np.ndarray:
    import shapiq.approximator as approximators

    players = int(np.log2(len(values)))
    bits = 2 ** np.arange(players)
    made = getattr(approximators, name)(n=players, random_state=seed, **options)
    found = made.approximate(calls, lambda each: np.atleast_1d(values[np.asarray(each, dtype=np.int64) @ bits]))
    return np.array([found[(player,)] for player in range(players)])


def _regression_msr(values: np.ndarray, calls: int, seed: int) -> np.ndarray:
    """RegressionMSR (Witter et al. 2025): boosted trees, cross-fitted, their errors weighed by inverse probability."""
    import lightgbm

    from danlu.explanation.coalitions import draw_pairs

    players = int(np.log2(len(values)))
    pairs = draw_pairs(players, (calls - 2) // 2, Seed(seed))
    bits, members = 2 ** np.arange(players), all_members(players).astype(float)
    inside, outside = pairs.members @ bits, ~pairs.members @ bits
    part = np.random.default_rng(seed).permutation(len(pairs)) % 5
    whole, found, errors = values[-1] - values[0], np.zeros(players), np.zeros(len(pairs))
    for fold in range(5):
        seen = np.concatenate([inside[part != fold], outside[part != fold], [0, len(values) - 1]])
        data = lightgbm.Dataset(members[seen], values[seen], params={"min_data_in_bin": 1, "verbosity": -1})
        options = {"verbosity": -1, "num_threads": 1, "num_leaves": 15, "min_data_in_leaf": 3, "lambda_l2": 0.1}
        proxy = np.asarray(lightgbm.train(options, data, 150).predict(members))
        found += (exact_values(proxy) - (proxy[-1] - proxy[0]) / players) / 5
        own = part == fold
        errors[own] = (values - proxy)[inside[own]] - (values - proxy)[outside[own]]
    for stratum in range(len(pairs.fractions)):
        own = pairs.strata == stratum
        found += (pairs.weights[own] * errors[own, None]).mean(axis=0)
    return np.asarray(found + whole / players)


PEERS: dict[str, Peer] = {
    "danlu odd": partial(_of_danlu, "odd"),
    "danlu paired-kernel": partial(_of_danlu, "paired-kernel"),
    "RegressionMSR (ours)": _regression_msr,
    "shap KernelExplainer": partial(_shap_kernel, "num_features(10)"),
    "shap KernelExplainer, l1_reg=False": partial(_shap_kernel, False),
    "shap PermutationExplainer": _shap_permutation,
    "shapiq KernelSHAP": partial(_shapiq, "KernelSHAP", {}),
    "shapiq UnbiasedKernelSHAP": partial(_shapiq, "UnbiasedKernelSHAP", {}),
    "shapiq SVARM": partial(_shapiq, "SVARM", {}),
    "shapiq PermutationSamplingSV": partial(_shapiq, "PermutationSamplingSV", {}),
    "shapiq ProxySPEX": partial(_shapiq, "ProxySPEX", {"index": "SV", "max_order": 1}),
}


def error(games: int) -> None:
    """Print each method's squared error at equal calls, as a ratio of danlu's choice; above 1 danlu is nearer."""
    print("versions:", {name: importlib.metadata.version(name) for name in ("shap", "shapiq", "lightgbm")})
    print(f"median over {games} games a kind of squared error / that of danlu's rule; smallest by kind behind it\n")
    for calls in CALLS:
        refused: dict[str, str] = {}
        found: dict[str, dict[str, list[float]]] = {name: {kind: [] for kind in GAMES} for name in PEERS}
        for kind in GAMES:
            for number in range(games):
                values = make_game(kind, number)
                exact = exact_values(values)
                players, floor = len(exact), 1e-14 * float(np.ptp(values)) ** 2
                rule = "danlu " + choose_estimator(players, calls * players).name
                errors = {}
                for name, peer in PEERS.items():
                    try:
                        estimates = peer(values, calls * players, number)
                    except Exception as problem:  # a peer that refuses a budget has no figure there
                        print(
                            f"    {name} at {calls}: {type(problem).__name__}: {problem}"[:110]
                        ) if not number else None
                        continue
                    errors[name] = float(np.mean((estimates - exact) ** 2)) + floor
                for name, value in errors.items():
                    found[name][kind].append(value / errors[rule])
        print(f"{calls} calls a player (danlu's rule: {rule})")
        for name, kinds in found.items():
            medians = {kind: float(np.median(ratios)) for kind, ratios in kinds.items() if ratios}
            if medians:
                least = min(medians, key=lambda kind: medians[kind])
                print(f"    {name:36} {np.median(list(medians.values())):10.2f}   {medians[least]:.2f} ({least})")
        for name, reason in refused.items():
            print(f"    {name:36} {reason}")
        sys.stdout.flush()


def speed() -> None:
    """Print calls per second beside KernelExplainer, and permutation importance beside scikit-learn.

    Seconds are of this process on the CPU, single-threaded, since other work on a machine lengthens those of a clock.
    Both sides are timed in turn, and a ratio is of neighbours. Memory is what the process grows by at most.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cancer = read_builtin("builtin:breast-cancer").frame.lazy().collect()
        for name, hidden in (("mlp of 128 x 128", [128, 128]), ("mlp of 16", [16])):
            rows = _trained(Path(folder), f"cancer{hidden[0]}", cancer, "diagnosis", hidden)
            for background in (1, 10, 100):
                _kernel_speed(f"breast-cancer, {name}", rows, cancer, background, True)
        customers = _customers()
        words = _trained(Path(folder), "customers", customers, "churned", [128, 128])
        for background in (1, 10, 100):
            _kernel_speed(
                "customers (5 of 10 columns are words), mlp of 128 x 128", words, customers, background, False
            )
        _permutation_speed(_trained(Path(folder), "again", cancer, "diagnosis", [128, 128]), cancer)


def _trained(folder: Path, name: str, frame: pl.DataFrame, target: str, hidden: list[int]) -> TabularAnswers:
    import danlu
    from danlu.core.console import silenced

    recipe = {
        "name": name, "data": {"target": target}, "model": {"name": "mlp", "hidden": hidden}, "training": {"epochs": 3}
    }  # fmt: skip
    with silenced():
        run = danlu.train(recipe, data=frame, name=name, output=folder).path
        return TabularAnswers(danlu.load(run))


def _customers() -> pl.DataFrame:
    """A table as companies have it: words, counts, amounts, gaps."""
    rng = np.random.default_rng(0)
    words = {f"word {at}": rng.choice([f"value {n}" for n in range(5 + at)], 500) for at in range(5)}
    numbers = {f"amount {at}": rng.gamma(2, 10, 500).round(2) for at in range(5)}
    frame = pl.DataFrame({**words, **numbers})
    gap = pl.int_range(pl.len()) % 9 == 0
    leaves = (pl.col("word 0") == "value 1") & (pl.col("amount 0") < 25)
    churned = pl.when(leaves).then(pl.lit("yes")).otherwise(pl.lit("no"))
    return frame.with_columns(churned=churned).with_columns(
        pl.when(gap).then(None).otherwise(pl.col("amount 1")).alias("amount 1")
    )


def _kernel_speed(name: str, rows: TabularAnswers, frame: pl.DataFrame, background: int, has_network: bool) -> None:
    """The same bundle, row and background: shap is given the network's own function, or `Predictor.predict`."""
    import shap
    import torch

    import danlu

    columns = list(rows.columns)
    chosen, calls = frame.select(columns), 40 * len(columns)
    prepared, answer = rows.prepare(chosen), Answer(None, 0, True)
    label = labels_of(rows.target)[0]
    in_torch = danlu.load(rows.predictor.bundle.folder, engine="torch").model

    def network(table: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = in_torch(torch.from_numpy(table.astype(np.float32)))
        return np.asarray(torch.softmax(logits, dim=1)[:, 0])

    # shap mixes tables of numbers: words go in as their places in lists, and come back within the function.
    lists = {each: chosen[each].unique().sort().to_list() for each in columns if not chosen[each].dtype.is_numeric()}
    raw = np.stack(
        [
            np.array([lists[each].index(cell) for cell in chosen[each]], dtype=np.float64)
            if each in lists
            else chosen[each].to_numpy()
            for each in columns
        ],
        axis=1,
    )

    def predict(table: np.ndarray) -> np.ndarray:
        cells = {
            each: pl.Series(lists[each])[table[:, at].astype(np.int64)] if each in lists else table[:, at]
            for at, each in enumerate(columns)
        }
        return rows.predictor.predict(pl.DataFrame(cells))[f"probability_{label}"].to_numpy()

    def theirs(function: Callable[[np.ndarray], np.ndarray], table: np.ndarray) -> None:
        explainer = shap.KernelExplainer(function, table[1 : 1 + background])
        explainer.shap_values(table[:1], nsamples=calls - 2, l1_reg=False, silent=True)

    def ours(repeat: int) -> None:
        value = interventional_value(
            rows.mixed(chosen[:1], chosen[1 : 1 + background], answer), background, len(columns)
        )
        estimate_with(choose_estimator(len(columns), calls), Game(len(columns), value), calls, Seed(repeat))

    functions = [("predict", predict, raw)]
    functions[:0] = [("network", network, prepared.numeric)] if has_network else []
    for on, function, table in functions:
        ratios, speeds = [], []
        for repeat in range(4):
            start = time.process_time()
            theirs(function, table)
            middle = time.process_time()
            ours(repeat)
            end = time.process_time()
            ratios.append((middle - start) / (end - middle))
            speeds.append(calls / (end - middle))
        spread = np.quantile(ratios, [0.25, 0.75]).round(1).tolist()
        memory = [_growth(part) for part in (partial(theirs, function, table), partial(ours, 0))]
        print(
            f"{name}, background {background:3}, shap on {on:7}: danlu {np.median(speeds):,.0f} calls/s, "
            f"{np.median(ratios):.1f} times KernelExplainer {spread}; memory {memory[0]:.0f} MB there, {memory[1]:.0f} "
            "MB in danlu",
            flush=True,
        )


def _growth(work: Callable[[], object]) -> float:
    """Return by how many MB this process grows at most while it does something (Linux)."""
    import ctypes
    import gc

    def kilobytes(key: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work left behind would be taken again
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest size
    before = kilobytes("VmRSS")
    work()
    return (kilobytes("VmHWM") - before) / 1024


def _permutation_speed(rows: TabularAnswers, frame: pl.DataFrame) -> None:
    """The same bundle: danlu's permutation importance, plain and conditional, and scikit-learn's of `predict`."""
    from sklearn.inspection import permutation_importance as theirs

    features = frame.select(rows.columns).to_pandas()
    label = frame[rows.predictor.target.columns[0]].to_numpy()

    class Wrapped:
        def fit(self, *_: Any) -> "Wrapped":
            return self

        def score(self, table: Any, truth: Any) -> float:
            answers = rows.predictor.predict(pl.from_pandas(table), batch_size=8192)
            return float((answers["prediction"].to_numpy() == truth).mean())

    def sklearn_importance() -> object:
        return theirs(Wrapped(), features, label, n_repeats=10, random_state=0)

    def own_importance() -> object:
        return permutation_importance(rows, frame, Seed(0), repeats=10)

    ratios = []
    for _ in range(3):
        start = time.process_time()
        sklearn_importance()
        middle = time.process_time()
        own_importance()
        ratios.append((middle - start) / (time.process_time() - middle))
    spread = np.quantile(ratios, [0.25, 0.75]).round(1).tolist()
    print(
        f"permutation importance, {len(rows.columns)} columns x 10 repeats: {np.median(ratios):.1f} times "
        f"scikit-learn's {spread}; memory {_growth(sklearn_importance):.0f} MB there, {_growth(own_importance):.0f} MB "
        "in danlu; plain and conditional in danlu, plain alone there",
        flush=True,
    )


def planted() -> None:
    """Print which of the twenty planted truths each method finds with all four seeds."""
    rows, names = {}, list(PLANTED_METHODS)
    print("| case | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for name, case in cases.CASES.items():
        instances = [case(seed) for seed in cases.SEEDS]
        found = {
            method: all(cases.solves(instance, give(instance)) for instance in instances)
            for method, give in PLANTED_METHODS.items()
        }
        rows[name] = found
        print(f"| {name} | " + " | ".join("found" if found[each] else "–" for each in names) + " |", flush=True)
    print("| **of 20** | " + " | ".join(str(sum(found[each] for found in rows.values())) for each in names) + " |")


def planted_game(instance: cases.Planted) -> Game:
    """Return an instance as a game of its players."""
    cells = np.zeros((len(instance.players), len(instance.row)), dtype=bool)
    for player, own in enumerate(instance.players):
        cells[player, list(own)] = True

    def answers(coalitions: np.ndarray) -> np.ndarray:
        mixed = np.where((coalitions @ cells)[:, None, :], instance.row, instance.background[None])
        return instance.model(mixed.reshape(-1, len(instance.row))).reshape(len(coalitions), -1)

    value = interventional_value(answers, len(instance.background), len(instance.row))
    return Game(len(instance.players), value)


def _planted_shap(instance: cases.Planted) -> np.ndarray:
    return shapley_values(planted_game(instance), Seed(0), budget=cases.CALLS).values


def _left_out(instance: cases.Planted) -> np.ndarray:
    """The answer less that without the player: occlusion."""
    game, players = planted_game(instance), len(instance.players)
    return np.asarray(game.values(np.ones((1, players), dtype=bool)) - game.values(~np.eye(players, dtype=bool)))


def _alone(instance: cases.Planted) -> np.ndarray:
    """The answer with the player alone less that with none."""
    game, players = planted_game(instance), len(instance.players)
    return np.asarray(game.values(np.eye(players, dtype=bool)) - game.values(np.zeros((1, players), dtype=bool)))


def _size_of_input(instance: cases.Planted) -> np.ndarray:
    row = np.nan_to_num(instance.row.astype(np.float64))
    return np.array([np.abs(row[list(own)]).sum() for own in instance.players])


def _random(instance: cases.Planted) -> np.ndarray:
    return np.random.default_rng(len(instance.players)).standard_normal(len(instance.players))


PLANTED_METHODS: dict[str, Callable[[cases.Planted], np.ndarray]] = {
    "shap (recommended)": _planted_shap,
    "occlusion": _left_out,
    "each alone": _alone,
    "size of input": _size_of_input,
    "random": _random,
}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("part", choices=["coverage", "error", "speed", "planted"])
    parser.add_argument("--games", type=int, default=17)
    parser.add_argument("--runs", type=int, default=8)
    asked = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "coverage": lambda: coverage(asked.games, asked.runs),
        "error": lambda: error(asked.games),
        "speed": speed,
        "planted": planted,
    }
    parts[asked.part]()
