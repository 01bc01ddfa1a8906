"""Questions about data that can be read in several ways, which the recipe answers.

In: what a reader could not tell. Out: one sentence each with the lines that settle it; `check` lists them, and nothing
is trained before they are answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from danlu.errors import DataError


@dataclass(frozen=True)
class Answer:
    """Hold one way to read the data.

    Attributes:
        write: what settles it, as `--set` takes it: `KEY=VALUE`.
        example: what the data then is, such as a date or some classes.
    """

    write: str
    example: str


@dataclass(frozen=True)
class Question:
    """Ask which of several readings is meant.

    Attributes:
        code: a key of `danlu.errors.CODES`.
        subject: a column's name, or a folder.
        message: the question, in one sentence.
        readings: the possible answers; until one is chosen, `check` shows the data as the first has it.
    """

    code: str
    subject: str
    message: str
    readings: tuple[Answer, ...]

    def __str__(self) -> str:
        ways = "; or ".join(f"--set '{reading.write}' ({reading.example})" for reading in self.readings)
        return f"{self.subject}: {self.message} Answer with {ways}"


def require_answers(questions: Sequence[Question]) -> None:
    """Raise DataError if there are questions: the first's code, the text of all."""
    if questions:
        raise DataError("\n".join(map(str, questions)), code=questions[0].code)
