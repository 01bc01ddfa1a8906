"""A preference's row -> its prompt and both answers, each message said once."""

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.core.text import suggestion
from danlu.data.sources.chat_beside import earlier_turns, template_values, with_system
from danlu.data.sources.chat_forms import CHOSEN, HISTORY, KNOWN_FORMS, LEARNED_BY_PLACE, MEDIA, QUESTIONS, REJECTED
from danlu.data.sources.chat_messages import question_text, read_turn
from danlu.data.sources.chat_rows import ChatRow, Message, kept_row
from danlu.errors import DataError

ANSWERS = (CHOSEN, REJECTED)


def pair_columns(names: Sequence[str], conversation: str | None, origin: str) -> list[str]:
    """Return the columns of a preference: the question's if there are any, both answers.

    Args:
        names: all columns.
        conversation: the one that holds whole conversations.

    Raises:
        DataError: a column of answers is missing.
    """
    for name in ANSWERS:
        if name not in names:
            near = suggestion(name, names)
            raise DataError(
                f"{origin}: no column {name!r}, which preferences need{near}; known forms: {KNOWN_FORMS}", code="DL210"
            )
    by_name = [asked for asked, _ in QUESTIONS if asked in names]
    if by_name[:1] == ["prompt"] or (by_name and conversation is None):
        given = dict(QUESTIONS)[by_name[0]]
        asked = [by_name[0], *([given] if given in names else [])]
    else:
        asked = [] if conversation is None else [conversation]
    return [*(name for name in asked if name is not None), *([HISTORY] if HISTORY in names else []), *ANSWERS]


def read_pair(row: Mapping[str, Any], said: Sequence[str], place: str) -> tuple[ChatRow, list[Message], list[Message]]:
    """Return a row's prompt, and the messages of both answers.

    Args:
        row: the values of its columns.
        said: those of `pair_columns`.

    Raises:
        DataError: something is missing, or an answer holds more than the assistant's messages.
    """
    for name in MEDIA:
        if row.get(name):
            raise DataError(f"{place}: has {name}; language models here read only text, remove such rows", code="DL240")
    if row.get(LEARNED_BY_PLACE):
        raise DataError(
            f"{place}: {LEARNED_BY_PLACE} cannot be followed in pairs, whose answers are learned whole; remove it",
            code="DL240",
        )
    answers = []
    for name in ANSWERS:
        if row[name] is None or row[name] == []:
            raise DataError(f"{place}: {name} has no messages", code="DL240")
        messages, silent = read_turn(row[name], "assistant", f"{place}: {name}")
        if silent:
            raise DataError(f"{place}: {name} has a message that is not to be learned; remove it", code="DL240")
        answers.append(messages)
    asked = [name for name in said if name not in (*ANSWERS, HISTORY)]
    value = question_text(row, asked[0], asked[1] if len(asked) > 1 else None, place) if asked else None
    kept = kept_row(value)
    row = row if kept is None else {**row, **kept.beside}
    if value is None or value == []:
        prompt, answers = _shared(answers, place)
    else:
        prompt = read_turn(value if kept is None else kept.messages, "user", f"{place}: {asked[0]}")[0]
        split = [
            without_prompt(prompt, answer, f"{place}: {name}") for name, answer in zip(ANSWERS, answers, strict=True)
        ]
        if split[0][0] and split[1][0] and split[0][0] != split[1][0]:
            raise DataError(f"{place}: {CHOSEN} and {REJECTED} begin with different messages", code="DL240")
        prompt, answers = [*(split[0][0] or split[1][0]), *prompt], [rest for _, rest in split]
    for name, answer in zip(ANSWERS, answers, strict=True):
        _refuse_other_turns(answer, f"{place}: {name}")
    prompt = with_system(row, [*earlier_turns(row, place), *prompt], place)
    return ChatRow(prompt, template_values(row, place)), answers[0], answers[1]


def without_prompt(prompt: Sequence[Message], answer: list[Message], place: str) -> tuple[list[Message], list[Message]]:
    """Take the prompt away from an answer that begins with it.

    Returns:
        what stands before the prompt, such as a system message, and what stands after it.

    Raises:
        DataError: nothing stands after it.
    """
    for end in range(len(prompt), len(answer) + 1):
        start = end - len(prompt)
        if all(map(_same, answer[start:end], prompt)) and not any(m["role"] == "assistant" for m in answer[:start]):
            before, rest = answer[:start], answer[end:]
            break
    else:  # an answer may repeat the end of the prompt alone, without its system message
        most = min(len(prompt), len(answer))
        repeated = next((n for n in range(most, 0, -1) if all(map(_same, answer[:n], prompt[-n:]))), 0)
        spoken = answer[0]["role"] in ("user", "system", "developer")
        before, rest = [], answer[repeated:] if spoken else answer
    if not rest:
        raise DataError(f"{place}: holds the prompt and no answer", code="DL240")
    return before, rest


def _shared(answers: Sequence[list[Message]], place: str) -> tuple[list[Message], list[list[Message]]]:
    """Return the answers' common beginning as the prompt, and what follows it."""
    for name, answer in zip(ANSWERS, answers, strict=True):
        if not any(message["role"] == "assistant" for message in answer):
            raise DataError(f"{place}: {name} has no message of the assistant; remove the row", code="DL240")
    shared = 0
    for one, other in zip(*answers, strict=False):
        if not _same(one, other) or shared + 1 >= min(map(len, answers)):
            break
        shared += 1
    if shared == 0:
        raise DataError(
            f"{place}: there is no prompt, and the two answers share no first message; add a column prompt; known "
            f"forms: {KNOWN_FORMS}",
            code="DL240",
        )
    return answers[0][:shared], [answer[shared:] for answer in answers]


def _same(one: Message, other: Message) -> bool:
    """Return whether two messages say the same; white space around does not count."""
    return {**one, "content": one["content"].strip()} == {**other, "content": other["content"].strip()}


def _refuse_other_turns(answer: Sequence[Message], place: str) -> None:
    """Raise unless an answer is the assistant's, with the results of its tools."""
    for number, message in enumerate(answer, 1):
        if message["role"] not in ("assistant", "tool") or (number == 1 and message["role"] == "tool"):
            raise DataError(
                f"{place}: message {number} after the prompt is of the {message['role']}; an answer holds the "
                "assistant's messages alone, so move it to the prompt or remove the row",
                code="DL240",
            )
