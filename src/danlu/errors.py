"""The exceptions that danlu raises on purpose, each with its exit code.

A message says what is wrong, where, and how to fix it; it addresses the person who made the mistake.
"""

from dataclasses import dataclass


class DanluError(Exception):
    """Base class of everything that danlu refuses or cannot do.

    Exit code 1 unless a subclass says otherwise.
    """

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """Describe one thing wrong with a recipe: place, key and message."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class RecipeError(DanluError):
    """Report a wrong recipe, with every problem found and not the first alone."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ArgumentError(DanluError):
    """Report a wrong argument of a command or function."""

    exit_code = 2


class DataError(DanluError):
    """Report wrong data: missing, unreadable, or not as the recipe says."""

    exit_code = 3


class ArtifactError(DanluError):
    """Report a run directory or bundle that cannot be written or read."""


class Stopped(DanluError):
    """Report a stop by a signal; the message says where the work is kept."""


class MissingExtra(DanluError):
    """Report optional packages that are not installed."""
