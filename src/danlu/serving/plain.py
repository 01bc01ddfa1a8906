"""The plain route, `POST /predict/N`: rows of the user's own columns, in JSON, as a form, or one file as it is.

In: a body and its content type. Out: rows, and the answers as they are written. Knows no sockets.
"""

from collections.abc import Sequence
from email.message import Message
from typing import Any

import msgspec

from danlu.serving.answering import Answer, Rows, Served
from danlu.serving.outputs import EXPLANATION
from danlu.serving.refusals import TOO_LARGE, Refused

JSON = "application/json"
FORM = "multipart/form-data"
MOST_PARTS = 10_000
FORMS = f'{JSON} with {{"rows": [...]}}, {FORM}, or for models of pictures or texts one file as image/… or text/plain'
UNSUPPORTED = 415


def decode(served: Served, body: bytes | memoryview, content_type: str | None = None) -> Rows:
    """Decode the body of a request.

    A form has a part for each cell: of models of pictures or texts each is a row, of tables all are one row. A body
    without content type is JSON, as curl and simple clients send it.

    Args:
        served: the bundle that is to answer.
        body: of the request.
        content_type: its header.

    Raises:
        Refused: it is of another form, or has no rows.
    """
    if content_type is None or content_type.startswith((JSON, "application/x-www-form-urlencoded")):
        return _explainable(served, served.decode(body))  # curl's --data says the latter of anything
    header = Message()
    header["content-type"] = content_type
    media_type = header.get_content_type()
    if media_type == FORM:
        boundary = header.get_boundary()
        if not boundary:
            raise Refused("content-type: a form needs a boundary", field="content-type")
        return served.read(_rows_of_form(served, form_parts(bytes(body), boundary.encode("latin-1", "replace"))))
    alone = served.columns[0].type if len(served.columns) == 1 else ""
    if media_type.startswith("image/") and alone == "image":
        return served.read([bytes(body)])
    if media_type == "text/plain" and alone == "text":
        return served.read([_text(bytes(body))])
    if media_type.endswith("+json"):
        return _explainable(served, served.decode(body))
    told = f"content-type: {media_type} is not taken here; send {FORMS}"
    raise Refused(told, field="content-type", status=UNSUPPORTED)


def finish(served: Served, rows: Rows, answers: Sequence[Answer]) -> Sequence[Answer]:
    """Return the answers of a request as they are written, explained where asked."""
    if not rows.explain:
        return answers
    texts = served.explain(rows, answers)
    return [
        answer if text is None else {**answer, EXPLANATION: msgspec.Raw(text.encode())}
        for answer, text in zip(answers, texts, strict=True)
    ]


def form_parts(body: bytes, boundary: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return name, file name and content of each part of a form (RFC 7578).

    Raises:
        Refused: it is malformed, or has too many parts.
    """
    mark = b"--" + boundary
    sections = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(sections) < 3 or not sections[-1].startswith(b"--"):
        raise Refused("the form is cut short, or its boundary is not that of the header", field="body")
    if len(sections) - 2 > MOST_PARTS:
        raise Refused(f"the form has more than {MOST_PARTS:,} parts", field="body", status=413, code=TOO_LARGE)
    return [_part(section, place) for place, section in enumerate(sections[1:-1])]


def _part(section: bytes, place: int) -> tuple[str, str | None, bytes]:
    head, separator, content = section.partition(b"\r\n\r\n")
    header = Message()
    for line in head.split(b"\r\n"):
        key, _, value = line.decode("utf-8", "replace").partition(":")
        if key.strip().lower() == "content-disposition":
            header["content-disposition"] = value.strip()
    name = header.get_param("name", None, "content-disposition")
    if not separator or not isinstance(name, str):
        raise Refused(f"part {place + 1} of the form has no name", field=f"parts[{place}]")
    return name, header.get_filename(), content


def _rows_of_form(served: Served, parts: Sequence[tuple[str, str | None, bytes]]) -> list[Any]:
    """Return the rows of a form's parts."""
    if len(served.columns) > 1:
        return [{name: _text(content) for name, _, content in parts}]
    column = served.columns[0]
    if column.type == "image":
        return [{column.name: content} for _, _, content in parts]
    return [{column.name: _text(content)} for _, _, content in parts]


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"the text is no UTF-8: byte {error.start} is {content[error.start]:#x}", field="body") from None


def _explainable(served: Served, rows: Rows) -> Rows:
    """Return rows, if what they ask for can be done."""
    if rows.explain:
        served.require_explainable()
    return rows
