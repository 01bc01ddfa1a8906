"""Measure compression: size, latency and metric of each method, beside ONNX Runtime in full precision and its peers.

    python benchmarks/compression.py OUT [--only resnet,mlp,boosting,gpt,promise] [--fashion FOLDER] [--adult FOLDER]

Every model is trained once by danlu on real rows, and kept in OUT. The baseline is the original network in ONNX Runtime
with float32, never torch eager. Times are of prepared rows; whatever is compared runs in interleaved pairs in six
openings of both engines, and a ratio is the median over openings with an exact interval, their least and largest. The
drop is on the test split, which no step has seen, with the exact one-sided bound of 95 % for accuracy. Peers compress
the very same network, by their documented defaults for a CPU: ONNX Runtime's `quantize_static` (QDQ, per channel, after
its own `quant_pre_process`, with both types of activations) and, where it can be imported, NNCF's `quantize` run by
OpenVINO.

`promise` trains four small models with five seeds each, compresses each within a budget, and asks on the test rows,
which neither search nor acceptance has seen, whether the exact interval of the drop excludes the budget, and, timed
anew, whether the chosen model is slower than its original.
"""

import argparse
import gzip
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import danlu
from danlu.artifacts.bundle import Bundle
from danlu.compression import measure as measured
from danlu.compression.acceptance import Flips, count_flips, difference_bound
from danlu.compression.base import Material
from danlu.compression.judge import Judge
from danlu.compression.material import open_material
from danlu.compression.measure import BATCHES, compare_engines
from danlu.compression.once import apply_steps
from danlu.compression.parsing import parse_steps
from danlu.compression.points import describe
from danlu.compression.timing import SpeedComparison, compare_openings
from danlu.compression.written import write_candidate
from danlu.core.cpu import this_processor
from danlu.core.threads import usable_cores
from danlu.models.bundle_form import open_checked
from danlu.models.engines.onnxruntime_engine import open_session
from danlu.models.predictor import Predictor
from danlu.recipe.sections.compression import Budget

PLAIN: dict[str, Any] = {"baselines": False, "folds": None}
METHODS = {
    "resnet": (
        "quantize",
        "quantize={calibration: entropy}",
        "prune={amount: 0.5, epochs: 2, distill: true}",
        "prune={amount: 0.5, epochs: 2, distill: true},quantize",
        "prune={amount: 0.5, epochs: 5, distill: true, lr_factor: 0.5},quantize",
        "prune={amount: 0.4, epochs: 5, distill: true, lr_factor: 0.5},quantize",
        "prune={amount: 0.7, epochs: 3, distill: true},quantize",
        "low-rank={energy: 0.8, epochs: 1, distill: true}",
        "prune={amount: 0.8, what: weights, epochs: 1, schedule: polynomial}",
        "distill={size: small},quantize",
    ),
    "mlp": (
        "quantize",
        "quantize=int8-dynamic",
        "prune={amount: 0.5, epochs: 2, distill: true}",
        "prune={amount: 0.5, epochs: 2, distill: true},quantize",
        "low-rank={parameters: 0.5, epochs: 1}",
        "distill={size: small}",
    ),
    "boosting": ("quantize", "prune=0.5"),
    "gpt": ("quantize=int8-weights", "quantize=int4-weights", "prune={amount: 0.3, epochs: 1}"),
}
GPT: dict[str, Any] = {
    "data": {
        "source": "builtin:speeches-corpus",
        "task": "language-modelling",
        "sequence_length": 128,
        "vocabulary": 2048,
    },
    "model": {
        "name": "hf:llama",
        "config": {
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "intermediate_size": 384,
            "tie_word_embeddings": False,
        },
    },
    "training": {"max_steps": 600, "batch_size": 8, "optimizer": {"lr": 3e-3}},
}
PROMISED = {"accuracy": 0.05}
SEEDS = range(5)


@dataclass(frozen=True)
class Row:
    """Hold one line of a table: a method with its cost and its gain."""

    method: str
    bytes: int
    speed: dict[int, SpeedComparison]
    metric: str
    drop: str

    def cells(self) -> list[str]:
        """Return the cells."""
        times = [f"{self.speed[size].second.p50:.3g} / {self.speed[size].second.p99:.3g}" for size in BATCHES]
        ratios = [ratio(self.speed[size]) for size in BATCHES]
        return [self.method, f"{self.bytes:,}", *times, *ratios, self.metric, self.drop]


HEAD = ("method", "bytes", "ms at 1, p50 / p99", "ms at 32", "times as fast at 1", "at 32", "metric", "drop")


def ratio(speed: SpeedComparison) -> str:
    """Return a ratio with its interval."""
    return f"{speed.speedup.value:.2f} ({speed.speedup.low:.2f} to {speed.speedup.high:.2f})"


def table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def fashion(folder: Path, train: int, validation: int, test: int) -> pl.DataFrame:
    """Return the first images of Fashion-MNIST as PNG with their split."""
    from PIL import Image

    def read(name: str, count: int) -> Iterator[tuple[bytes, str]]:
        images = np.frombuffer(
            gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes()), np.uint8, -1, 16
        )
        labels = np.frombuffer(gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, -1, 8)
        for pixels, label in zip(images.reshape(-1, 28, 28)[:count], labels[:count], strict=True):
            held = io.BytesIO()
            Image.fromarray(pixels).save(held, "PNG")
            yield held.getvalue(), f"class {label}"

    seen, unseen = list(read("train", train + validation)), list(read("t10k", test))
    part = ["train"] * train + ["validation"] * validation + ["test"] * test
    return pl.DataFrame({"image": [a for a, _ in seen + unseen], "label": [b for _, b in seen + unseen], "part": part})


def adult(folder: Path) -> pl.DataFrame:
    """Return the adult census with its own test rows."""
    names = (
        "age workclass fnlwgt education years marital occupation relationship race sex gain loss hours country income"
    )

    def read(name: str) -> pl.DataFrame:
        lines = [line for line in (folder / name).read_text().splitlines() if line.count(",") == 14]
        table = pl.read_csv(
            io.StringIO("\n".join(lines)), has_header=False, new_columns=names.split(), null_values=[" ?", "?"]
        )
        return table.with_columns(pl.col(pl.String).str.strip_chars(" ."))

    seen, unseen = read("adult.data"), read("adult.test")
    cut = 8000  # rows that validate
    part = pl.Series("part", ["validation"] * cut + ["train"] * (seen.height - cut) + ["test"] * unseen.height)
    return pl.concat([seen, unseen]).with_columns(part)


def originals(options: argparse.Namespace) -> dict[str, tuple[dict[str, Any], pl.DataFrame | None, str]]:
    """Return recipe, rows and metric of each model."""
    by = {"split": {"by": {"column": "part"}}}
    found: dict[str, tuple[dict[str, Any], pl.DataFrame | None, str]] = {"gpt": (GPT, None, "perplexity")}
    if options.adult:
        rows = adult(options.adult)
        data: dict[str, Any] = {"target": "income", **by}
        mlp: dict[str, Any] = {"name": "mlp", "hidden": [256, 256]}
        found["mlp"] = ({"data": data, "model": mlp, "training": {"epochs": 3, "batch_size": 256}}, rows, "accuracy")
        found["boosting"] = ({"data": data, "model": {"name": "boosting", "rounds": 100}}, rows, "accuracy")
    if options.fashion:
        training: dict[str, Any] = {"epochs": options.epochs, "batch_size": 64, "optimizer": {"lr": 2e-3}}
        images = {"target": "label", "image_size": 28, **by}
        rows = fashion(options.fashion, options.images, 2000, 4000)
        found["resnet"] = ({"data": images, "model": "small-resnet", "training": training}, rows, "accuracy")
    return found


def trained(name: str, recipe: dict[str, Any], rows: pl.DataFrame | None, out: Path) -> Path:
    """Return the run of a model, trained once."""
    if not (out / name / "evaluation.json").is_file():
        danlu.run({"name": name, "evaluation": PLAIN, **recipe}, data=rows, output=out, name=name, overwrite=True)
    return out / name


Run = Callable[[dict[str, np.ndarray]], np.ndarray]


class Peer:
    """Answer by another library, in the place of danlu's engine."""

    name, tolerance = "peer", 1.0

    def __init__(self, opened: "Callable[[], Run]") -> None:
        self.open = opened
        self.run = opened()


def peers(material: Material, plain: Bundle, folder: Path) -> Iterator[tuple[str, Path, Peer]]:
    """Yield the same network as other libraries compress it, with its file."""
    from danlu.compression.int8 import calibration_batches

    batches = calibration_batches(material, 512, material.seed)
    source = plain.folder / "model.onnx"
    for activations in ("QInt8", "QUInt8"):
        path = folder / f"{activations}.onnx"
        yield (
            f"onnxruntime `quantize_static`, {activations} activations",
            path,
            _static(source, path, batches, activations),
        )
    try:
        import nncf
        import openvino
    except ImportError as error:
        print(f"NNCF is left out: {error}", file=sys.stderr)
        return
    whole = nncf.quantize(openvino.Core().read_model(source), nncf.Dataset(batches), subset_size=len(batches))
    path = folder / "nncf.xml"
    openvino.save_model(whole, path)

    def opened() -> Run:
        one_thread = {"INFERENCE_NUM_THREADS": 1} if "numeric" in batches[0] else {}
        compiled = openvino.Core().compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY", **one_thread})
        request = compiled.create_infer_request()
        return lambda inputs: request.infer(inputs)[0].copy()

    yield "NNCF `quantize`, OpenVINO", path.with_suffix(".bin"), Peer(opened)


def _static(source: Path, path: Path, batches: list[dict[str, np.ndarray]], activations: str) -> Peer:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Any:
            return next(self.left, None)

    ready = path.with_suffix(".ready.onnx")
    # Its symbolic shapes do not get through a graph that prepares images; skipping them is its documented way out.
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    quantize_static(
        ready, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType[activations]
    )
    # With the threads that are best here: one for a small network of a table, as danlu's own engine has.
    threads = 1 if "numeric" in batches[0] else None

    def opened() -> Run:
        session = open_session(path, threads=threads)
        return lambda inputs: session.run(None, inputs)[0]

    return Peer(opened)


def against_peer(plain: Bundle, peer: Peer, material: Material) -> dict[int, SpeedComparison]:
    """Time a peer beside the baseline."""
    model, part, found = material.context.model, material.context.splits.test, {}
    own = Predictor.load(plain, recipe_model=model, replay=False)
    for size in BATCHES:
        frame = part.columns(*own.preprocessor.columns)[:size]
        inputs, _ = next(iter(own.preprocessor.iter_arrays(frame, material.context.origin, size)))

        def open_both(inputs: Any = inputs) -> tuple[Callable[[], object], Callable[[], object]]:
            one, other = Predictor.load(plain, recipe_model=model, replay=False).engine, peer.open()
            return lambda: one.run(inputs), lambda: other(inputs)

        found[size] = compare_openings(open_both)
    return found


def measure(name: str, run: Path, metric: str, out: Path) -> str:
    """Return the table of one model."""
    with open_material(run) as material:
        judge, test = Judge(material, Budget(metric=metric, max_drop=0.0)), material.context.splits.test
        candidate = apply_steps(material, ())
        plain = write_candidate(material, candidate, out / f"{name}-bundles" / "plain")
        before = judge.predictions(plain, test)
        bound = "difference" if judge.is_exact else "bootstrap"
        rows = []

        def add(method: str, held: int, speed: dict[int, SpeedComparison], found: Any) -> None:
            figure, drop = judge.metrics(found)[metric], judge.drop(before, found, bound)
            told = f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"
            rows.append(Row(method, held, speed, told, f"{drop.value:.4f} (at most {drop.upper:.4f})").cells())
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)

        known = describe(material, "plain", plain, candidate)
        add(f"original, {known.engine}", known.size_bytes, compare_engines(plain, plain, material, test), before)
        for number, steps in enumerate(METHODS[name]):
            try:
                made = apply_steps(material, parse_steps(steps))
            except danlu.DanluError as error:
                rows.append([f"`{steps}`", f"refused: {error}", *["–"] * (len(HEAD) - 2)])
                continue
            bundle = write_candidate(material, made, out / f"{name}-bundles" / f"m{number}")
            held = describe(material, "", bundle, made).size_bytes
            add(f"`{steps}`", held, compare_engines(plain, bundle, material, test), judge.predictions(bundle, test))
        if (plain.folder / "model.onnx").is_file() and name != "boosting":
            for method, path, peer in peers(material, plain, out):
                predictor = Predictor.load(plain, recipe_model=material.context.model, replay=False)
                predictor.engine = peer  # type: ignore[assignment]
                outputs = predictor.outputs(test, material.context.origin)
                found = replace(before, y_pred=danlu_pred(predictor, outputs))
                add(method, path.stat().st_size, against_peer(plain, peer, material), found)
    return f"## {name}\n\nMetric: {metric}, on {len(test):,} test rows.\n\n{table(HEAD, rows)}\n"


def danlu_pred(predictor: Predictor, outputs: np.ndarray) -> np.ndarray:
    """Return outputs as metrics take them."""
    from danlu.tasks.table import task_of

    return np.asarray(task_of(predictor.target).to_y_pred(predictor.target, outputs))


def small_recipes(options: argparse.Namespace) -> dict[str, tuple[dict[str, Any], pl.DataFrame | None]]:
    """Return four small models whose promise is checked."""
    half = {"split": {"validation": 0.35, "test": 0.35}}
    mlp = {"name": "mlp", "hidden": [128, 128]}
    found: dict[str, tuple[dict[str, Any], pl.DataFrame | None]] = {
        "breast-cancer": ({"data": {"source": "builtin:breast-cancer", **half}, "model": mlp}, None),
        "digits": ({"data": {"source": "builtin:digits", "image_size": 32, **half}, "model": "small-resnet"}, None),
    }
    if options.adult:
        rows = adult(options.adult).drop("part").sample(3000, seed=1)
        found["adult"] = ({"data": {"target": "income", **half}, "model": mlp}, rows)
        found["adult-resnet"] = ({"data": {"target": "income", **half}, "model": "resnet"}, rows)
    return found


def promise(options: argparse.Namespace) -> str:
    """Return the table of the promise."""
    rows, broken, slower, kept = [], 0, 0, 0
    measured.compare_openings = partial(compare_openings, seconds=options.seconds)  # type: ignore[attr-defined]
    recipes = small_recipes(options)
    for seed in SEEDS:
        for name, (recipe, frame) in recipes.items():
            asked = {**recipe, "seed": seed, "training": {"epochs": 6, "batch_size": 64}}
            run = trained(f"{name}-{seed}", asked, frame, options.out)
            found = danlu.compress(run, budget=PROMISED, steps=options.steps, minutes=options.minutes)
            with open_material(run) as material:
                judge, test = Judge(material, Budget(metric="accuracy", max_drop=0.05)), material.context.splits.test
                before, best = open_checked(found.points[0].bundle), open_checked(found.bundle)
                flips = count_flips(judge.predictions(before, test), judge.predictions(best, test))
                lowest = -difference_bound(Flips(flips.rows, flips.gained, flips.lost), 0.95)
                # The original in its faster engine is what nothing may be slower than.
                fastest = next(one for one in found.points if all(each.value == 1 for each in one.speedup.values()))
                speed = compare_engines(open_checked(fastest.bundle), best, material, test)
            is_kept = bool(found.promise and found.promise.kept)
            chosen = next(one for one in found.points if one.id == found.chosen)
            is_slower = is_kept and any(each.is_slower for each in speed.values())
            is_broken = is_kept and lowest > PROMISED["accuracy"]
            kept, broken, slower = kept + is_kept, broken + is_broken, slower + is_slower
            steps = ", ".join(each.label for each in chosen.steps) or "ONNX Runtime alone"
            drop = f"{flips.drop:.4f} (at least {lowest:.4f})"
            times = [ratio(speed[size]) for size in BATCHES]
            rows.append([f"{name}, seed {seed}", steps, "yes" if is_kept else "no", f"{flips.rows}", drop, *times])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ("original", "chosen", "promised", "test rows", "drop on them", "times as fast at 1", "at 32")
    said = (
        f"{len(rows)} compressions within 0.05 of accuracy: {kept} promised. In {broken} of these the interval on test "
        f"rows excludes the budget; {slower} are slower than their original, timed anew."
    )
    return f"## promise\n\n{said}\n\n{table(head, rows)}\n"


def main() -> None:
    """Run what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of runs")
    parser.add_argument("--only", default="resnet,mlp,boosting,gpt,promise", help="parts, in this order")
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--adult", type=Path, help="folder of adult.data and adult.test")
    parser.add_argument("--images", type=int, default=10_000, help="of Fashion-MNIST to train on")
    parser.add_argument("--epochs", type=int, default=4, help="of the ResNet")
    parser.add_argument("--minutes", type=float, default=None, help="of each search of the promise")
    parser.add_argument("--steps", default=None, help="of each search of the promise; by default danlu's own")
    parser.add_argument("--seconds", type=float, default=4.0, help="most time of a comparison in the promise")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cpu = this_processor()
    print(f"{cpu.name}, {usable_cores()} cores, {', '.join(cpu.features)}\n")
    known = originals(options)
    for name in options.only.split(","):
        if name == "promise":
            print(promise(options), flush=True)
        elif name in known:
            recipe, rows, metric = known[name]
            print(measure(name, trained(name, recipe, rows, options.out), metric, options.out), flush=True)


if __name__ == "__main__":
    main()
