"""The OpenAPI document: valid, and true of what is sent and answered."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from danlu.serving.answering import Served, encode
from danlu.serving.openapi import document
from danlu.serving.plain import decode, finish
from danlu.serving.v2.requests import decode as decode_v2
from danlu.serving.v2.responses import encode as encode_v2
from tests.serving.test_answering import rows_of
from tests.serving.test_v2 import columns_of, request_of


def validator(told: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": told["components"]})


def answered(served: Served, body: bytes) -> Any:
    rows = decode(served, body)
    answers = finish(served, rows, served.answer([rows])[0])
    head = {"model": "m", "version": "1", "digest": served.digest, "request_id": "r"}
    return json.loads(encode({**head, "answers": answers}))


def test_the_document_is_one_of_openapi(wine: Served, digits: Served, eras: Served, tags: Served) -> None:
    told = document({"wine": wine, "digits & co": digits, "eras": eras, "tags": tags})
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert "/predict/digits%20%26%20co" in told["paths"]
    specification = pytest.importorskip("openapi_spec_validator")
    specification.validate(json.loads(json.dumps(told)))


def test_rows_and_answers_are_as_the_document_says(wine: Served, cancer: Served, table_file: Path) -> None:
    told = document({"wine": wine, "cancer": cancer})
    rows = rows_of(wine, str(table_file))[:3]
    request = {"rows": [*rows, {}, 7]}
    validator(told, "Model1Request").validate(request)
    for row in rows:
        validator(told, "Model1Row").validate(row)
    assert not validator(told, "Model1Row").is_valid({})
    validator(told, "Model1Answers").validate(answered(wine, json.dumps(request).encode()))
    golden = cancer.predictor.bundle.golden()
    assert golden is not None
    asked = {"rows": golden.select(column.name for column in cancer.columns).to_dicts()[0], "explain": True}
    found = answered(cancer, json.dumps(asked).encode())
    assert found["answers"][0]["explanation"]
    validator(told, "Model2Answers").validate(found)


@pytest.mark.parametrize("sent", [{}, {"rows": []}, {"rows": 5}, {"rows": None}, {"rows": [{}], "explain": "yes"}])
def test_what_the_document_forbids_is_refused(wine: Served, sent: Any) -> None:
    from danlu.serving.refusals import Refused

    assert not validator(document({"wine": wine}), "Model1Request").is_valid(sent)
    with pytest.raises(Refused):
        decode(wine, json.dumps(sent).encode())


def test_forms_and_explanations_are_as_the_document_says(digits: Served) -> None:
    told = document({"digits": digits})
    request = validator(told, "Model1Request")
    assert request.is_valid({"rows": ["aGk="], "explain": False})
    assert not request.is_valid({"rows": ["aGk="], "explain": True})  # as pictures' answers are not explained
    form = told["paths"]["/predict/digits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    checked = Draft202012Validator(form)
    assert checked.is_valid({"file": ["x"]}) and not checked.is_valid({}) and not checked.is_valid({"file": []})


def test_tensors_are_as_the_document_says(wine: Served, table_file: Path) -> None:
    told = document({"wine": wine})
    rows = [row for row in rows_of(wine, str(table_file)) if None not in row.values()][:3]
    body, _ = request_of(columns_of(wine, rows), binary=False)
    validator(told, "InferRequest").validate(json.loads(body))
    request = decode_v2(wine, body)
    found, _ = encode_v2(wine, request, wine.answer([request.rows])[0], "m", "1")
    validator(told, "InferAnswer").validate(json.loads(found))


def test_lists_of_tags_are_as_the_document_says(tags: Served) -> None:
    found = answered(tags, json.dumps({"rows": [{"tokens": ["red", "house"]}]}).encode())
    validator(document({"tags": tags}), "Model1Answers").validate(found)
