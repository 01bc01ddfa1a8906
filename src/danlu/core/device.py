"""Deterministic operators."""

import os


def make_deterministic() -> None:
    """Ask torch for deterministic operators; those without one warn instead of failing."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # `use_deterministic_algorithms` does the same but imports the compiler, which costs a second.
    torch.set_deterministic_debug_mode("warn")
    # Otherwise every new tensor is filled first: 4 % of a small ResNet's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
