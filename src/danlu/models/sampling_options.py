"""The sampling options of `danlu generate` and `danlu chat`: their ranges, and the values made of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from danlu.models.sampling import Sampling

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (lambda value: value >= 1, "at least 1"),
    "temperature": (lambda value: value >= 0.0, "0 (greedy) or more"),
    "top_k": (lambda value: value >= 1, "at least 1"),
    "top_p": (lambda value: 0.0 < value <= 1.0, "above 0 and at most 1"),
    "min_p": (lambda value: 0.0 <= value <= 1.0, "within 0 and 1"),
    "repetition_penalty": (lambda value: value > 0.0, "above 0 (1 turns it off)"),
    "num_return": (lambda value: value >= 1, "at least 1"),
}


def check_sampling(num_return: int = 1, **options: Any) -> "Callable[[], Sampling]":
    """Check sampling options; return what makes them, which imports torch.

    Args:
        num_return: texts per prompt.
        options: fields of `Sampling`.

    Raises:
        ArgumentError: one is out of range.
    """
    for name, value in {**options, "num_return": num_return}.items():
        allowed, rule = RULES[name]
        if value is not None and not allowed(value):
            raise ArgumentError(f"{name}: must be {rule}, got {value}", code="DL402")

    def make() -> "Sampling":
        from danlu.models.sampling import Sampling

        return Sampling(**options)

    return make
