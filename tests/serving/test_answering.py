"""Answers of requests: equal to danlu.predict's for every kind of data, each row in its place, a bad one alone."""

import base64
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import danlu
from danlu.models.read_for import read_words_for
from danlu.serving.answering import Served
from danlu.serving.refusals import Refused

TOLERANCE = 1e-5


def body(rows: Any) -> bytes:
    return json.dumps({"rows": rows}).encode()


def rows_of(served: Served, source: object) -> list[dict[str, Any]]:
    """The rows of a file, as a client would write them in JSON."""
    frame = read_words_for(served.predictor.bundle, source, labelled=False).frame.lazy().collect()
    rows: list[dict[str, Any]] = json.loads(frame.write_json())
    return rows


def assert_same(answers: list[dict[str, Any]], wanted: pl.DataFrame) -> None:
    assert len(answers) == wanted.height
    for answer, row in zip(answers, wanted.to_dicts(), strict=True):
        for name, value in row.items():
            label = name.removeprefix("probability_")
            found = answer["probabilities"][label] if name != label else answer[name]
            assert found == (pytest.approx(value, rel=TOLERANCE, abs=TOLERANCE) if isinstance(value, float) else value)


def assert_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Assert that two answers are the same but for rounding, which may differ with the size of a batch."""
    assert first.keys() == second.keys()
    if "error" in first:
        assert first == second
        return
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=TOLERANCE)
    assert first["prediction"] == second["prediction"]


def in_two_requests(served: Served, rows: list[Any]) -> list[dict[str, Any]]:
    first, second = served.answer([served.decode(body(rows[:3])), served.decode(body(rows[3:]))])
    assert len(first) == 3
    return first + second


def test_rows_of_a_table_are_answered_as_predict_answers_them(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))
    assert wine.decode(body(rows)).quick is not None
    assert_same(in_two_requests(wine, rows), danlu.predict(wine.predictor.bundle.folder, str(table_file)))


def test_images_are_answered_as_predict_answers_their_files(digits: Served, image_folder: Path) -> None:
    files = sorted(image_folder.rglob("*.png"))[::20]
    rows = [{"image": base64.b64encode(path.read_bytes()).decode()} for path in files]
    wanted = danlu.predict(digits.predictor.bundle.folder, [str(path) for path in files]).drop("image")
    assert_same(in_two_requests(digits, rows), wanted)


def test_texts_are_answered_as_predict_answers_them(eras: Served, text_file: Path) -> None:
    texts = pl.read_ndjson(text_file)["text"].to_list()[:20]
    wanted = eras.predictor.predict(texts)
    assert_same(in_two_requests(eras, texts), wanted)
    assert_same(in_two_requests(eras, [{"text": text} for text in texts]), wanted)


@pytest.mark.training
def test_words_are_tagged_as_predict_tags_them(tags: Served) -> None:
    rows = [{"tokens": ["red", "house"]}, {"tokens": ["a", "blue", "stone", "house"]}] * 3
    assert_same(in_two_requests(tags, rows), tags.predictor.predict(rows))


@pytest.mark.training
def test_language_models_answer_as_predict_does(language: Served) -> None:
    golden = language.predictor.bundle.golden()
    assert golden is not None
    rows = golden.select(language.predictor.preprocessor.columns).to_dicts()
    assert_same(in_two_requests(language, rows), language.predictor.predict(rows))


def test_a_bad_row_is_an_error_in_its_place_and_its_neighbours_are_answered(wine: Served, table_file: Path) -> None:
    good = rows_of(wine, str(table_file))[:2]
    bad: list[tuple[Any, str, str | None]] = [
        ({**good[0], "alcohol": "strong"}, "DL211", "alcohol"),
        ({**good[0], "alcohol": [1]}, "DL211", "alcohol"),
        ({**good[0], "alcohol": 1e39}, "DL211", "alcohol"),
        ({**good[0], "alcohol": 10**400}, "DL211", "alcohol"),
        ({**good[0], "bottled": "yesterday"}, "DL211", "bottled"),
        ({name: value for name, value in good[0].items() if name != "ash"}, "DL210", "ash"),
        (7, "DL207", None),
    ]
    alone = wine.answer([wine.read(good)])[0]
    for row, code, column in bad:
        neighbour, (first, broken, last) = wine.answer([wine.read([good[0]]), wine.read([good[0], row, good[1]])])
        for found, wanted in ((neighbour[0], alone[0]), (first, alone[0]), (last, alone[1])):
            assert_alike(found, wanted)
        assert (broken["error"].code, broken["error"].column) == (code, column)
        assert "samples given" not in broken["error"].message


def test_a_broken_image_is_an_error_without_advice_to_whoever_trains(digits: Served, image_folder: Path) -> None:
    good = base64.b64encode(next(image_folder.rglob("*.png")).read_bytes()).decode()
    rows = [{"image": good}, {"image": good[:60]}, {"image": "/etc/passwd"}, {"image": None}, {"image": good}]
    first, *broken, last = digits.answer([digits.read(rows)])[0]
    assert_alike(first, last)
    assert [row["error"].code for row in broken] == ["DL230"] * 3
    assert all(row["error"].column == "image" and "skip" not in row["error"].message for row in broken)


def test_a_request_is_read_as_one_file_whatever_stands_in_others(wine: Served, table_file: Path) -> None:
    rows = rows_of(wine, str(table_file))[:6]
    german = [{**row, "alcohol": str(row["alcohol"]).replace(".", ",")} for row in rows]
    points = [{**row, "alcohol": str(row["alcohol"])} for row in rows]
    as_numbers, as_points, as_commas = wine.answer([wine.read(rows), wine.read(points), wine.read(german)])
    assert as_points == as_commas
    assert_same(as_points, wine.predictor.predict(rows))
    for found, wanted in zip(as_numbers, as_points, strict=True):
        assert_alike(found, wanted)


def test_gaps_unseen_words_and_words_for_numbers_are_answered_as_predict_answers_them(
    wine: Served, table_file: Path
) -> None:
    rows = rows_of(wine, str(table_file))[:8]
    number, word = (next(each.name for each in wine.columns if each.type == kind) for kind in ("number", "category"))
    rows[1][number] = rows[2][word] = None
    rows[3][word] = "never met"
    quick = wine.decode(body(rows))
    assert quick.quick is not None
    assert_same(wine.answer([quick])[0], wine.predictor.predict(rows))
    spelled = [{**row, number: None if row[number] is None else str(row[number])} for row in rows]
    slow = wine.decode(body(spelled))
    assert slow.quick is None
    assert_same(wine.answer([slow])[0], wine.predictor.predict(spelled))


WORDS = ["red", "white", "RED", " red", "?", "NA", "1", "unseen"]
DATES = ["2024-01-05T10:00:00", "05.01.2024", "nonsense", ""]
CELLS = {
    "number": st.none() | st.floats(-1e3, 1e3) | st.integers(-1000, 1000),
    "category": st.none() | st.sampled_from(WORDS) | st.integers(0, 3) | st.booleans(),
    "datetime": st.none() | st.dates().map(str) | st.sampled_from(DATES),
}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_that_need_no_reading_are_answered_as_those_that_are_read(wine: Served, data: st.DataObject) -> None:
    cells = st.fixed_dictionaries({column.name: CELLS[column.type] for column in wine.columns})
    row = data.draw(cells)
    quick = wine.read([row])
    assert quick.quick is not None
    slow = type(quick)(1, raw=[row])
    first, second = wine.answer([quick])[0][0], wine.answer([slow])[0][0]
    assert_alike(first, second)


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"rows": []}', b'{"rows": [NaN]}', b"\xff", b"[" * 100_000])
def test_a_body_of_another_form_is_refused(wine: Served, sent: bytes) -> None:
    with pytest.raises(Refused) as refused:
        wine.decode(sent)
    assert refused.value.status == 400


def test_rows_that_mix_types_in_many_ways_are_refused_and_gaps_are_no_such_mixture(cancer: Served) -> None:
    names = [column.name for column in cancer.columns]
    row: dict[str, Any] = dict.fromkeys(names, 1.5)
    mixed = [{**row, **{name: "2" for at, name in enumerate(names) if number >> at & 1}} for number in range(65)]
    with pytest.raises(Refused, match="more than 64 ways") as refused:
        cancer.read(mixed)
    assert refused.value.status == 400
    gaps = [{**row, names[at % 30]: None, names[0]: "2" if at % 2 else 2.0} for at in range(100)]
    answers = cancer.answer([cancer.read(gaps)])[0]
    assert len(answers) == 100 and not any("error" in answer for answer in answers)
    assert answers[62] == answers[2]
