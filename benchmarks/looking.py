"""Measure what looking costs: the graph of a language model of SmolLM2's size, activations of few and of many rows.

    python benchmarks/looking.py [--only graph|activations]

Each measurement is a process of its own. Printed are wall and CPU time, and the peak of resident memory above what the
process held before it opened the model, the libraries being imported by then; beside it the size of the weights. The
model has random weights and the shape of SmolLM2-135M, in a folder as transformers writes it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
DTYPES = ("bfloat16", "float32")
ROWS = (100, 1000, 4000)
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["graph", "activations"])
    parser.add_argument("--inner", nargs=2, metavar=("WHAT", "VALUE"))
    given = parser.parse_args()
    if given.inner:
        what, value = given.inner
        if what in DTYPES:
            _make_model(value, what)
        else:
            _measure(what, value)
        return
    if given.only != "activations":
        print("| weights | weights, MiB | wall, s | CPU, s | peak above start, MiB | of the weights |\n|" + "---|" * 6)
        for dtype in DTYPES:
            _inner("graph", dtype)
    if given.only != "graph":
        print("\n| rows | wall, s | CPU, s | peak above start, MiB |\n|" + "---|" * 4)
        for rows in ROWS:
            _inner("activations", str(rows))


def _inner(what: str, value: str) -> None:
    subprocess.run([sys.executable, __file__, "--inner", what, value], check=True)


def _measure(what: str, value: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (_graph if what == "graph" else _activations)(Path(folder), value)


def _graph(folder: Path, dtype: str) -> None:
    subprocess.run([sys.executable, __file__, "--inner", dtype, str(folder / "model")], check=True)
    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    import matplotlib.figure  # noqa: F401 - is no part of what is measured
    from transformers import LlamaForCausalLM  # noqa: F401

    import danlu

    size = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
    start, wall, cpu = _resident("VmRSS"), time.perf_counter(), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    graph = danlu.visualize(folder / "model", only="graph", output=folder / "look").json["graph"]
    wall, cpu, peak = time.perf_counter() - wall, time.process_time() - cpu, _resident("VmHWM") - start
    assert graph["replay_deviation"] == 0.0
    print(f"| {dtype} | {size / MIB:.0f} | {wall:.1f} | {cpu:.1f} | {peak / MIB:.0f} | {peak / size:.2f} |", flush=True)


def _make_model(folder: str, dtype: str) -> None:
    """Write a model of random weights."""
    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).to(getattr(torch, dtype)).save_pretrained(folder)


def _activations(folder: Path, rows: str) -> None:
    """Measure the network of a small convolutional recipe on rows that exist before the measurement begins."""
    import torch
    from torch import nn

    from danlu.inspection.activations import measure_activations

    width = 16
    network = nn.Sequential(
        *(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)),
    )
    images = torch.randn(int(rows), 3, 32, 32)
    measure_activations(network, [{"input": images[:2]}])
    start, wall, cpu = _resident("VmRSS"), time.perf_counter(), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")
    measure_activations(network, ({"input": each} for each in torch.split(images, 32)))
    wall, cpu, peak = time.perf_counter() - wall, time.process_time() - cpu, _resident("VmHWM") - start
    print(f"| {int(rows):,} | {wall:.1f} | {cpu:.1f} | {peak / MIB:.0f} |", flush=True)


def _resident(key: str) -> int:
    """Return bytes of resident memory, now (VmRSS) or at most (VmHWM)."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(key))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
