"""Parts of a model by name: the head, and what a recipe means by a name, a glob or a regular expression."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Self

from torch import nn

from danlu.core.errors import ArgumentError
from danlu.core.names import suggestion

HINT = "distilled_hint"  # what a student learns its teacher's hidden states by, while it is trained
OUTER = "network."  # what danlu's wrappers put before the names that the model's authors gave


class TaskModel(nn.Module):
    """A network with what a task puts on it; knows which parts are whose.

    Attributes:
        head_parts: modules and weights that the task adds, and what came with no pretrained weights.
        still: modules that stay in evaluation mode while the rest is trained.
        fixed: weights that a whole run leaves as they are, and that checkpoints leave out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head_parts: tuple[str, ...] = ()
        self.still: frozenset[str] = frozenset()
        self.fixed: frozenset[str] = frozenset()

    def train(self, mode: bool = True) -> Self:
        """As of any module, but that what is to be still is so."""
        super().train(mode)
        if mode and self.still:
            for name, module in self.named_modules():
                if name in self.still:
                    module.training = False
        return self


def is_of_head(model: nn.Module, name: str) -> bool:
    """Whether a weight or layer belongs to what the task adds to pretrained weights, or came with none.

    A model says so itself: `head_parts` names modules and weights.
    """
    parts: tuple[str, ...] = getattr(model, "head_parts", ())
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def last_linear_of_head(model: nn.Module) -> nn.Module | None:
    """The last linear layer of what a task puts on pretrained weights."""
    found = [
        module for name, module in model.named_modules() if isinstance(module, nn.Linear) and is_of_head(model, name)
    ]
    return found[-1] if found else None


def own_name(name: str) -> str:
    """A name as the model's authors gave it."""
    return name.removeprefix(OUTER)


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern means this part, or something that it is within.

    `layer.0`, `query` and `norm*` are looked for anywhere in the dotted name, at whole parts of it;
    `/encoder\\.layer\\.[0-3]\\./` is a regular expression that is looked for anywhere.
    """
    name = own_name(name)
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "/":
        return re.search(pattern[1:-1], name) is not None
    parts = name.split(".")
    spans = (".".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1))
    return any(fnmatchcase(span, pattern) for span in spans)


def chosen(names: Iterable[str], patterns: Iterable[str], key: str) -> list[str]:
    """The names that any pattern means, in order.

    Raises:
        ArgumentError: a pattern means none, or is no regular expression.
    """
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        try:
            some = [name for name in names if matches(name, pattern)]
        except re.error as error:
            raise ArgumentError(f"{key}: {pattern} is no regular expression: {error}") from error
        if not some:
            raise ArgumentError(f"{key}: the model has no part {pattern!r}{suggestion(pattern, _words(names))}")
        found.update(some)
    return [name for name in names if name in found]


def _words(names: list[str]) -> list[str]:
    """What could have been meant: the parts of names that are no numbers, and whole names."""
    own = [own_name(name) for name in names]
    words = dict.fromkeys(part for name in own for part in name.split(".") if not part.isdigit())
    return [*words, *own]
