"""Training speed: shown beside the progress bar, and written to throughput.jsonl, apart from metrics.jsonl.

Throughput differs from run to run, metrics must not. In: samples as they are trained on. Out: rates, memory, and MFU,
the share of the card's peak that the model's own operations reach (Chowdhery et al. 2022,
https://arxiv.org/abs/2204.02311).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from danlu.artifacts.files import append_jsonl, truncate_jsonl
from danlu.artifacts.run import THROUGHPUT
from danlu.core.console import Progress
from danlu.core.devices import Accelerator
from danlu.training.monitoring.callbacks import Callback, CallbackContext


class Meter:
    """Count samples and steps, and show rates beside the progress bar.

    Attributes:
        loss: of the step that was read last; None before.
        remark: further text to show, such as the best validation so far.
    """

    def __init__(
        self,
        bar: Progress,
        device: Accelerator,
        tokens_per_sample: int | None = None,
        flops_per_step: float | None = None,
        precision: str = "fp32",
    ) -> None:
        """Start counting.

        Args:
            bar: shows the progress; counts samples.
            device: holds the model.
            tokens_per_sample: tokens per sample of a language model.
            flops_per_step: operations of a forward and a backward pass of a whole batch, where they are known.
            precision: number format of the products.
        """
        self.bar, self.device, self.tokens_per_sample = bar, device, tokens_per_sample
        self.peak_flops, self.flops_per_step = device.peak_flops(precision), flops_per_step
        self.loss: float | None = None
        self.remark = ""
        self.samples = self.steps = 0
        self.paused_s = 0.0
        self.started = time.perf_counter()
        self._read = (0, 0, 0.0)  # samples, steps and seconds at the last reading
        self.last: dict[str, float] = {}

    def advance(self, samples: int) -> None:
        """Count a step. Called every step, so it does next to nothing."""
        self.samples += samples
        self.steps += 1
        self.bar.advance(samples, self.progress_note)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time spent within, such as validation, from the rates."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.paused_s += time.perf_counter() - began

    def read(self) -> dict[str, float]:
        """Return the figures since the last reading.

        Call it when the device has finished its work.

        Returns:
            `seconds` of training since the start; `samples_per_s`, `steps_per_s`, for language models `tokens_per_s`;
            where they are known `peak_bytes` and `mfu` (a fraction).
        """
        now = time.perf_counter() - self.started - self.paused_s
        samples, steps, then = self._read
        taken = max(now - then, 1e-9)
        figures = {
            "seconds": now,
            "samples_per_s": (self.samples - samples) / taken,
            "steps_per_s": (self.steps - steps) / taken,
        }
        if self.tokens_per_sample is not None:
            figures["tokens_per_s"] = figures["samples_per_s"] * self.tokens_per_sample
        memory = self.device.peak_bytes()
        if memory is not None:
            figures["peak_bytes"] = memory
        if self.flops_per_step is not None and self.peak_flops is not None:
            figures["mfu"] = self.flops_per_step * figures["steps_per_s"] / self.peak_flops
        self._read, self.last = (self.samples, self.steps, now), figures
        return figures

    def progress_note(self) -> str:
        """Return the text beside the bar.

        For example `loss 0.4321  best validation/loss 0.5  9,800 tokens/s  1.2 GB  MFU 41%`.
        """
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        if self.remark:
            parts.append(self.remark)
        if "tokens_per_s" in self.last:
            parts.append(f"{self.last['tokens_per_s']:,.0f} tokens/s")
        memory = self.device.peak_bytes()
        if memory is not None:
            parts.append(f"{memory / 1e9:.1f} GB")
        if "mfu" in self.last:
            parts.append(f"MFU {self.last['mfu']:.0%}")
        return "  ".join(parts)


class ThroughputLogger(Callback):
    """Write a line of throughput.jsonl for each line of training loss in metrics.jsonl."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.file: Path | None = None

    def on_start(self, context: CallbackContext) -> None:
        self.file = context.run.path / THROUGHPUT
        truncate_jsonl(self.file, context.first_step)

    def on_log(self, record: dict[str, float]) -> None:
        if self.file is not None and "train/loss" in record:  # reading the loss has waited for the device
            append_jsonl(self.file, {"step": record["step"], **self.meter.read()})
