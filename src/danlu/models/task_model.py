"""`TaskModel`, a network with a task's head, and the names of its parts.

Recipes select parts by name, glob or regular expression.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Self

from torch import nn

from danlu.core.text import suggestion
from danlu.errors import ArgumentError

# The projection with which a student learns its teacher's hidden states in training.
PROJECTION_NAME = "distilled_hint"
WRAPPER_PREFIX = "network."  # prefix that danlu's wrappers add to the original names


class TaskModel(nn.Module):
    """Wrap a network with a task head and name the head's parts.

    Attributes:
        head_parts: modules and weights added for the task, or without pretrained weights.
        eval_only_modules: modules that stay in evaluation mode during training.
        frozen_params: weights that stay unchanged during the whole run; checkpoints leave them out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head_parts: tuple[str, ...] = ()
        self.eval_only_modules: frozenset[str] = frozenset()
        self.frozen_params: frozenset[str] = frozenset()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode like nn.Module.train, but keep `eval_only_modules` in evaluation mode."""
        super().train(mode)
        if mode and self.eval_only_modules:
            for name, module in self.named_modules():
                if name in self.eval_only_modules:
                    module.training = False
        return self


def is_in_head(model: nn.Module, name: str) -> bool:
    """Return whether a weight or module is within the model's `head_parts`."""
    parts: tuple[str, ...] = getattr(model, "head_parts", ())
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def last_head_linear(model: nn.Module) -> nn.Module | None:
    """Return the last linear layer of the head, or None."""
    found = [
        module for name, module in model.named_modules() if isinstance(module, nn.Linear) and is_in_head(model, name)
    ]
    return found[-1] if found else None


def original_name(name: str) -> str:
    """Return the original name, without the wrapper's prefix."""
    return name.removeprefix(WRAPPER_PREFIX)


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern matches this part or a module that contains it.

    `layer.0`, `query` and `norm*` match whole components anywhere in the dotted name; `/encoder\\.layer\\.[0-3]\\./` is
    a regular expression searched for anywhere.
    """
    name = original_name(name)
    if is_expression(pattern):
        return re.search(pattern[1:-1], name) is not None
    parts = name.split(".")
    spans = (".".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1))
    return any(fnmatchcase(span, pattern) for span in spans)


def select_from_root(names: list[str], pattern: str, key: str, body: str = "") -> list[str]:
    """Return the names that a pattern matches from the root.

    `conv1` is a part there, `*.conv1` one deeper down.

    Args:
        body: name of the part that may be left out in front, as transformers' `bert`.

    Raises:
        ArgumentError: it matches nothing; parts of that name deeper down are told with the pattern that finds them.
    """
    if is_expression(pattern):
        return select_names(names, (pattern,), key)
    found = [name for name in names if any(_matches_from_root(name, start + pattern) for start in ("", f"{body}."))]
    deeper = [] if found or "*" in pattern else [name for name in names if matches(name, pattern)]
    if deeper:
        raise ArgumentError(
            f"{key}: {pattern!r} is no part at the root of the network; *.{pattern} names the {len(deeper):,} weights "
            f"of parts called so deeper down, the first of them {original_name(deeper[0])}",
            code="DL511",
        )
    return found or select_names(names, (pattern,), key)


def _matches_from_root(name: str, pattern: str) -> bool:
    parts = original_name(name).split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def is_expression(pattern: str) -> bool:
    """Return whether a pattern is a regular expression between slashes."""
    return len(pattern) > 1 and pattern[0] == pattern[-1] == "/"


def select_names(names: Iterable[str], patterns: Iterable[str], key: str) -> list[str]:
    """Return the names that match any pattern, in their own order.

    Raises:
        ArgumentError: a pattern matches nothing, or is not a valid regular expression.
    """
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        try:
            some = [name for name in names if matches(name, pattern)]
        except re.error as error:
            raise ArgumentError(f"{key}: {pattern} is not a valid regular expression: {error}", code="DL511") from error
        if not some:
            raise ArgumentError(
                f"{key}: the model has no part {pattern!r}{suggestion(pattern, _candidate_names(names))}", code="DL511"
            )
        found.update(some)
    return [name for name in names if name in found]


def _candidate_names(names: list[str]) -> list[str]:
    """Return candidates for suggestions: non-numeric components of names, then whole names."""
    own = [original_name(name) for name in names]
    words = dict.fromkeys(part for name in own for part in name.split(".") if not part.isdigit())
    return [*words, *own]
