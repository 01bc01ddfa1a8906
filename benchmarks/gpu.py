"""A decoder of about 1.1 billion weights in bf16 on one card: danlu beside transformers.Trainer, in one run.

    python -m pip install 'danlu[all,bench]'
    python benchmarks/gpu.py                    # on a machine with a card of 80 GB or more
    python benchmarks/gpu.py --steps 50 --sequences 8
    python benchmarks/gpu.py --tiny             # anywhere: a tiny model, to see that everything runs

Prints tokens a second, the share of the card's peak (MFU, where the card is known) and the most memory taken. Both ways
train the same architecture from the same weights on the same random tokens, with fused AdamW, clipping, bf16 autocast
over fp32 weights, and torch.compile; each with and without recomputation of every block. No figure of a card is quoted:
none was at hand when this was written, and `--tiny` on a CPU is all that was run.
"""

import argparse
import copy
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.devices import Accelerator, open_device
from danlu.core.imports import patch_torchvision
from danlu.core.seeds import Seed
from danlu.data.loader import Batch
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.experiment.prepare import build_setup
from danlu.experiment.setup import TrainingSetup, create_train_state, with_training_options
from danlu.recipe.load import check_recipe

BILLION = {
    "hidden_size": 2048,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 5632,
    "max_position_embeddings": 2048,
}
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
LR, WARM = 1e-4, 5


@dataclass(frozen=True)
class Work:
    """What is trained, and for how long."""

    fitting: TrainingSetup
    tokens: Tensor
    steps: int
    compiled: bool

    @property
    def accelerator(self) -> Accelerator:
        return self.fitting.accelerator

    def batch(self, step: int) -> Tensor:
        """The tokens of a step, [sequences, length + 1]."""
        return self.tokens[step % len(self.tokens)]


def prepared(options: argparse.Namespace, folder: Path) -> Work:
    """A model and random tokens; the corpus is only there to make a model by recipe."""
    words = " ".join(f"w{number}" for number in range(4000))
    for number in range(8):
        (folder / f"{number}.txt").write_text(words, encoding="utf-8")
    length = 64 if options.tiny else 2048
    recipe = {
        "data": {"source": str(folder / "*.txt"), "sequence_length": length, "vocabulary": 1000},
        "model": {"name": "hf:llama", "config": TINY if options.tiny else {**BILLION, "vocab_size": 32000}},
        "training": {"max_steps": 1000, "batch_size": options.sequences, "optimizer": {"name": "adamw", "lr": LR}},
    }
    opened = load_data(check_recipe(recipe))
    fitting = build_setup(opened, fit_preprocessing(opened), open_device("auto"))
    fitting.model.to(fitting.accelerator.torch_device)
    fitting = with_training_options(fitting, compile=options.compile, precision="bf16")
    network: Any = fitting.model.network
    vocabulary = network.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, int(vocabulary), (8, options.sequences, length + 1), generator=generator)
    return Work(fitting, tokens.to(fitting.accelerator.torch_device), options.steps, options.compile)


@dataclass(frozen=True)
class Taken:
    """What training took."""

    step_s: float
    peak_bytes: int | None


class Clock:
    """Seconds of the steps after the first few, and the most memory of all."""

    def __init__(self, work: Work) -> None:
        self.work, self.began, self.ended = work, 0.0, 0.0
        work.accelerator.empty_cache()
        work.accelerator.reset_peak()

    def after(self, step: int) -> None:
        """A step is done, counted from 1."""
        if step in (WARM, WARM + self.work.steps):
            self.work.accelerator.synchronize()
            self.began, self.ended = self.ended, time.perf_counter()

    def taken(self) -> Taken:
        return Taken((self.ended - self.began) / self.work.steps, self.work.accelerator.peak_bytes())


def with_danlu(work: Work, recomputing: bool) -> Taken:
    memory = work.fitting.context.recipe.training.memory.model_copy(
        update={"checkpointing": "full" if recomputing else "none"}
    )
    fitting = with_training_options(work.fitting, memory=memory)
    machine = create_train_state(_copied(fitting))
    machine.model.train()
    clock = Clock(work)
    for step in range(1, WARM + work.steps + 1):
        tokens = work.batch(step)
        rows = torch.arange(len(tokens)).numpy()
        machine.make_step(Batch({"input_ids": tokens[:, :-1]}, tokens[:, 1:], rows, 0), LR, Seed(step), step)
        clock.after(step)
    return clock.taken()


def with_trainer(work: Work, recomputing: bool) -> Taken:
    """transformers.Trainer as its page on one GPU advises: bf16, compiled, fused AdamW."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    network: Any = copy.deepcopy(work.fitting.model.network)
    clock = Clock(work)

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.after(state.global_step)

    class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
        """Blocks already on the device, as danlu's are."""

        def __len__(self) -> int:
            return (WARM + work.steps) * len(work.tokens[0])

        def __getitem__(self, row: int) -> dict[str, Tensor]:
            step, place = divmod(row, len(work.tokens[0]))
            block = work.batch(step + 1)[place, :-1]
            return {"input_ids": block, "labels": block}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=len(work.tokens[0]),
            max_steps=WARM + work.steps,
            learning_rate=LR,
            lr_scheduler_type="constant",
            weight_decay=0.01,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=True,
            torch_compile=work.compiled,
            gradient_checkpointing=recomputing,
            gradient_checkpointing_kwargs={"use_reentrant": False} if recomputing else None,
            dataloader_pin_memory=False,
            use_cpu=work.accelerator.torch_device.type == "cpu",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        Trainer(network, arguments, train_dataset=Rows(), callbacks=[Watch()]).train()
    return clock.taken()


def _copied(fitting: TrainingSetup) -> TrainingSetup:
    from dataclasses import replace

    return replace(fitting, model=copy.deepcopy(fitting.model))


def operations(model: nn.Module, length: int) -> float:
    """Of a token, forward and backward: 6 a weight of a matrix, and causal attention (Narayanan et al. 2021)."""
    network: Any = model.network
    named = model.named_parameters()
    matrices = sum(weight.numel() for name, weight in named if weight.ndim == 2 and "embed" not in name)
    return 6.0 * matrices + 6.0 * float(network.config.num_hidden_layers * network.config.hidden_size * length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sequences", type=int, default=4, help="blocks a step")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    patch_torchvision()
    ways: dict[str, Callable[[Work, bool], Taken]] = {"danlu": with_danlu, "transformers.Trainer": with_trainer}
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(options, Path(folder))
        weights = sum(weight.numel() for weight in work.fitting.model.parameters())
        length = work.tokens.shape[2] - 1
        print(f"torch {torch.__version__}, {work.accelerator.name}; {weights:,} weights, blocks of {length} tokens")
        print(f"{'':<24}{'recomputing':>12}{'tokens/s':>12}{'MFU':>8}{'peak GB':>9}")
        peak = work.accelerator.peak_flops("bf16")
        for recomputing in (False, True):
            for name, way in ways.items():
                gc.collect()
                try:
                    taken = way(work, recomputing)
                except torch.OutOfMemoryError:
                    print(f"{name:<24}{recomputing!s:>12}   does not fit", flush=True)
                    continue
                rate = work.tokens.shape[1] * length / taken.step_s
                share = "" if peak is None else f"{rate * operations(work.fitting.model, length) / peak:.3f}"
                memory = "" if taken.peak_bytes is None else f"{taken.peak_bytes / 1e9:.2f}"
                print(f"{name:<24}{recomputing!s:>12}{rate:>12,.0f}{share:>8}{memory:>9}", flush=True)


if __name__ == "__main__":
    main()
