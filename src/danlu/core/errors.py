"""The exceptions that danlu raises on purpose. Each carries the exit code of the command line.

A message says what is wrong, where, and what to do; it is written for the person who made the mistake.
"""

from dataclasses import dataclass


class DanluError(Exception):
    """Anything that danlu refuses or cannot do. Exit code 1 unless a subclass says otherwise."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe: where it stands, which key, and the sentence about it."""

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.message) if part)


class RecipeError(DanluError):
    """The recipe is wrong. Holds every problem found, not the first alone."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ArgumentError(DanluError):
    """An argument of a command or function is wrong."""

    exit_code = 2


class DataError(DanluError):
    """The data is wrong: missing, unreadable, or not what the recipe says."""

    exit_code = 3


class ArtifactError(DanluError):
    """A run directory or a bundle cannot be written, or is not what it should be."""


class Stopped(DanluError):
    """A signal asked to stop; what was done is kept where the message says so."""


class MissingExtra(DanluError):
    """A part of danlu needs packages that are not installed."""
