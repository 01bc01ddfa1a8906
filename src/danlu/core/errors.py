"""The exceptions that danlu raises on purpose, each with its exit code.

A message says what is wrong, where, and how to fix it; it addresses the person who made the mistake.
"""

from dataclasses import dataclass


class DanluError(Exception):
    """Signal anything that danlu refuses or cannot do. Exit code 1 unless a subclass differs."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """Describe one problem of a recipe: place, key and message."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class RecipeError(DanluError):
    """Signal a wrong recipe; holds all problems, not only the first."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ArgumentError(DanluError):
    """Signal a wrong argument of a command or function."""

    exit_code = 2


class DataError(DanluError):
    """Signal wrong data: missing, unreadable, or different from the recipe's description."""

    exit_code = 3


class ArtifactError(DanluError):
    """Signal a run or bundle that cannot be written, is damaged or is invalid."""


class Stopped(DanluError):
    """Signal a stop by SIGINT or SIGTERM; the message says where the state is kept."""


class MissingExtra(DanluError):
    """Signal that an optional dependency is not installed."""
