"""The plain route: JSON, forms and single files; explanations on request; what is too much is refused by name."""

import json
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.serving.answering import Served
from danlu.serving.plain import decode, finish, form_parts
from danlu.serving.refusals import Refused
from tests.serving.test_answering import assert_alike, rows_of

BOUNDARY = "danlu-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form_of(*parts: tuple[str, str | None, bytes]) -> bytes:
    found = b""
    for name, file, content in parts:
        named = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        found += f"--{BOUNDARY}\r\nContent-Disposition: {named}\r\n\r\n".encode() + content + b"\r\n"
    return found + f"--{BOUNDARY}--\r\n".encode()


def answers_of(served: Served, body: bytes, content_type: str | None = None) -> list[dict[str, Any]]:
    rows = decode(served, body, content_type)
    return list(finish(served, rows, served.answer([rows])[0]))


def bomb(side: int) -> bytes:
    """A PNG of a few hundred kB at most that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_images_come_as_files_of_a_form_one_row_each(digits: Served, image_folder: Path) -> None:
    paths = sorted(image_folder.rglob("*.png"))[::100]
    (wanted,) = digits.answer([digits.read([path.read_bytes() for path in paths])])
    found = answers_of(digits, form_of(*(("image", path.name, path.read_bytes()) for path in paths)), FORM)
    for answer, other in zip(found, wanted, strict=True):
        assert_alike(answer, other)
    (alone,) = answers_of(digits, paths[0].read_bytes(), "image/png")
    assert_alike(alone, wanted[0])


def test_an_image_bomb_is_refused_without_its_pixels_being_made(digits: Served, image_folder: Path) -> None:
    good = next(image_folder.rglob("*.png")).read_bytes()
    found = answers_of(digits, form_of(("image", "a.png", good), ("image", "b.png", bomb(60_000))), FORM)
    assert found[0]["prediction"]
    assert found[1]["error"].code == "DL230"
    assert "pixels" in found[1]["error"].message


def test_a_form_of_a_table_is_one_row_of_words(wine: Served, table_file: Path) -> None:
    row = next(row for row in rows_of(wine, str(table_file)) if None not in row.values())
    form = form_of(*((name, None, str(value).encode()) for name, value in row.items()))
    (answer,) = answers_of(wine, form, FORM)
    assert_alike(answer, wine.answer([wine.read([row])])[0][0])


def test_a_text_may_be_the_whole_body(eras: Served) -> None:
    (answer,) = answers_of(eras, "The Union, étranger".encode(), "text/plain; charset=utf-8")
    assert_alike(answer, eras.answer([eras.read(["The Union, étranger"])])[0][0])
    with pytest.raises(Refused, match="UTF-8"):
        decode(eras, b"\xff\xfe", "text/plain")


def test_one_row_needs_no_list_and_json_no_content_type(wine: Served, table_file: Path) -> None:
    row = rows_of(wine, str(table_file))[0]
    (answer,) = answers_of(wine, json.dumps({"rows": row}).encode())
    assert_alike(answer, wine.answer([wine.read([row])])[0][0])


def test_answers_are_explained_where_the_request_asks(cancer: Served) -> None:
    golden = cancer.predictor.bundle.golden()
    assert golden is not None
    good = golden.select(column.name for column in cancer.columns).to_dicts()[0]
    found = answers_of(cancer, json.dumps({"rows": [good, {}], "explain": True}).encode())
    told = json.loads(bytes(found[0]["explanation"]))
    assert {each["name"] for each in told} == set(good)
    assert set(found[1]) == {"error"}


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/xml", 415), ("image/png", 415), ("multipart/form-data", 400), ("nonsense", 415)],
)
def test_a_body_of_another_kind_is_refused(wine: Served, content_type: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        decode(wine, b"<row/>", content_type)
    assert refused.value.status == status


def test_a_model_of_pictures_asked_for_an_explanation_refuses_at_once(digits: Served) -> None:
    with pytest.raises(Refused, match="cannot be explained"):
        decode(digits, b'{"rows": [""], "explain": true}')


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_form_is_parsed_or_refused(content: bytes) -> None:
    with suppress(Refused):  # whatever else is raised fails
        assert all(name for name, _, _ in form_parts(content, b"x"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_parts_come_back_byte_by_byte(contents: list[bytes]) -> None:
    parts = [(f"p{place}", "a.png" if place else None, content) for place, content in enumerate(contents)]
    assert form_parts(form_of(*parts), BOUNDARY.encode()) == parts
