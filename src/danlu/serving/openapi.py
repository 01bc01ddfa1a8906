"""The OpenAPI document of a server: every route that it has, with each model's own columns and answers.

Of OpenAI's routes the list of models alone is described here; OpenAI's own document describes the others. In: opened
bundles by name. Out: a document of OpenAPI 3.1, whose schemas are JSON Schema. It is true in both directions: what it
allows is answered, row by row, and what it forbids is refused.
"""

from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import quote

from danlu._version import __version__
from danlu.artifacts.jobs import State
from danlu.serving.answering import Served
from danlu.serving.jobs.job import SUFFIXES, Form
from danlu.serving.outputs import EXPLANATION, PROBABILITIES, OutputColumn
from danlu.serving.schema import InputColumn
from danlu.serving.v2.tensors import BYTES, DTYPES, MOST_DIMENSIONS

Json = dict[str, Any]
TITLE = "danlu serve"
REFUSALS = {
    "400": "the request cannot be read; `field` names the place",
    "401": "the key is missing or unknown",
    "405": "the route has no such method",
    "408": "the request did not arrive in time",
    "403": "the server was not started for this",
    "404": "there is no such thing here",
    "409": "it has not come to that",
    "413": "the request is too large",
    "415": "the body is of a kind that the route does not take",
    "429": "the key has used up its share; Retry-After says when to come back",
    "507": "the disk has no room for it",
    "503": "it cannot be answered in time; Retry-After says when to come back",
}
CELLS: dict[str, Json] = {
    "number": {"type": ["number", "string", "boolean", "null"], "description": "a number, or one written as a word"},
    "category": {"type": ["string", "number", "boolean", "null"]},
    "datetime": {"type": ["string", "number", "null"], "description": "a date, as in the training file"},
    "image": {"type": "string", "contentEncoding": "base64", "description": "a picture's file"},
    "text": {"type": ["string", "null"]},
}
SCALARS = {"BOOL": "boolean", BYTES: "string", "FP16": "number", "FP32": "number", "FP64": "number"}
MOST_EXAMPLES = 3


def document(models: Mapping[str, Served], *, jobs: bool = False) -> Json:
    """Return the document of a server that serves these models.

    Args:
        models: opened bundles by name.
        jobs: whether it takes files to be predicted later.
    """
    paths: Json = {}
    schemas: Json = {
        "Refusal": _object({"error": _text(), "code": _text(), "field": _text()}, ["error"]),
        "RowError": _object(
            {
                "error": _object(
                    {"code": _text(), "column": {"type": ["string", "null"]}, "message": _text()},
                    ["code", "column", "message"],
                )
            },
            ["error"],
        ),
        "Tensor": _tensor(),
        "InferRequest": _infer_request(),
        "InferAnswer": _infer_answer(),
    }
    for number, (name, served) in enumerate(models.items(), 1):
        part = f"Model{number}"
        schemas[f"{part}Row"] = row_schema(served)
        schemas[f"{part}Answer"] = answer_schema(served)
        schemas[f"{part}Request"] = _predict_request(f"{part}Row", served.is_explainable)
        schemas[f"{part}Answers"] = _predict_answer(f"{part}Answer")
        paths |= _model_paths(name, served, part)
    paths |= _server_paths()
    if jobs:
        schemas["Job"] = _job()
        paths |= _job_paths(list(models))
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def row_schema(served: Served) -> Json:
    """Return the JSON Schema of a row that can be answered."""
    examples = _examples(served)
    properties = {column.name: _cell(column, examples.get(column.name, [])) for column in served.columns}
    return _object(properties, list(properties))


def answer_schema(served: Served) -> Json:
    """Return the JSON Schema of a row's answer."""
    properties = {output.name: _output(output) for output in served.outputs}
    required = list(properties)
    if served.is_explainable:
        share = {"type": ["number", "null"]}
        one = _object({"name": _text(), "value": share, "low": share, "high": share}, ["name", "value", "low", "high"])
        properties[EXPLANATION] = {"type": "array", "items": one}
    return {**_object(properties, required), "additionalProperties": False}


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required}


def _text() -> Json:
    return {"type": "string"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _cell(column: InputColumn, examples: list[Any]) -> Json:
    told = dict(CELLS.get(column.type, {}))
    return {**told, "examples": examples} if examples else told


def _examples(served: Served) -> dict[str, list[Any]]:
    """Return a few values of each column, where the bundle keeps how they were distributed."""
    found: dict[str, list[Any]] = {}
    for name, told in (served.predictor.bundle.reference() or {}).get("columns", {}).items():
        if quantiles := told.get("quantiles"):
            found[name] = [quantiles[len(quantiles) // 2]] if told["type"] == "number" else []
        elif shares := told.get("shares"):
            found[name] = list(shares)[:MOST_EXAMPLES]
    return found


def _output(output: OutputColumn) -> Json:
    if output.name == PROBABILITIES:
        share = {"type": "number", "minimum": 0, "maximum": 1}
        return {**_object(dict.fromkeys(output.labels, share), list(output.labels)), "additionalProperties": False}
    if output.nested:
        return {"type": "array"}
    return {"type": SCALARS.get(output.datatype, "integer")}


def _predict_request(row: str, is_explainable: bool) -> Json:
    anything: Json = {"description": "anything else is answered with an error in its place"}
    rows = {"type": "array", "minItems": 1, "items": {"anyOf": [_ref(row), anything]}}
    one = {"type": "object"}
    explain: Json = {"type": "boolean", "default": False} if is_explainable else {"const": False}
    return _object({"rows": {"oneOf": [rows, one]}, "explain": explain}, ["rows"])


def _predict_answer(answer: str) -> Json:
    either = {"oneOf": [_ref(answer), _ref("RowError")]}
    said = {"model": _text(), "version": _text(), "digest": _text(), "request_id": _text()}
    return _object({**said, "answers": {"type": "array", "items": either}}, [*said, "answers"])


def _tensor() -> Json:
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": MOST_DIMENSIONS}
    return _object(
        {
            "name": _text(),
            "shape": shape,
            "datatype": {"enum": [*DTYPES, BYTES]},
            "data": {"type": "array", "description": "as many values as the shape says, flat or nested"},
            "parameters": {"type": ["object", "null"]},
        },
        ["name", "shape", "datatype"],
    )


def _infer_request() -> Json:
    wanted = _object({"name": _text(), "parameters": {"type": ["object", "null"]}}, ["name"])
    return _object(
        {
            "id": {"type": ["string", "number", "boolean", "null", "array", "object"]},
            "inputs": {"type": "array", "items": _ref("Tensor"), "minItems": 1},
            "outputs": {"type": ["array", "null"], "items": wanted},
            "parameters": {"type": ["object", "null"]},
        },
        ["inputs"],
    )


def _infer_answer() -> Json:
    said = {"model_name": _text(), "model_version": _text(), "id": _text()}
    outputs = {"type": "array", "items": _ref("Tensor")}
    return _object({**said, "parameters": {"type": "object"}, "outputs": outputs}, ["model_name", "outputs"])


def _content(schema: Json, kind: str = "application/json") -> Json:
    return {kind: {"schema": schema}}


def _operation(summary: str, answer: Json, refusals: tuple[str, ...], **more: Any) -> Json:
    told = {
        status: {"description": REFUSALS[status], "content": _content(_ref("Refusal"))} for status in ("401", *refusals)
    }
    return {"summary": summary, "responses": {"200": {"description": "answered", "content": answer}, **told}, **more}


def _asking() -> list[Json]:
    """Return the headers that a question may have."""
    return [
        {"name": "X-Request-Id", "in": "header", "schema": {"type": "string"}, "description": "given back"},
        {
            "name": "X-Deadline-Ms",
            "in": "header",
            "schema": {"type": "number", "exclusiveMinimum": 0},
            "description": "after so many milliseconds no answer is wanted",
        },
    ]


def _model_paths(name: str, served: Served, part: str) -> Json:
    """Return the routes of one model."""
    quoted = quote(name, safe="")
    body = _content(_ref(f"{part}Request"))
    if len(served.columns) == 1 and served.columns[0].type == "image":
        column = served.columns[0].name
        # Each part is a row, whatever its name and its content; only an empty form has none.
        part_of_form = {"minItems": 1}
        file = {**part_of_form, "contentMediaType": "application/octet-stream"}
        form = {"properties": {column: file}, "additionalProperties": part_of_form, "minProperties": 1}
        body |= _content({"type": "object", **form}, "multipart/form-data")
    asked = ("400", "408", "413", "415", "429", "503")
    answered = {"parameters": _asking(), "requestBody": {"required": True, "content": body}}
    tensors = {
        "parameters": _asking(),
        "requestBody": {"required": True, "content": _content(_ref("InferRequest"))},
    }
    root = f"/v2/models/{quoted}"
    metadata = _content({"type": "object"})
    return {
        f"/predict/{quoted}": {
            "post": _operation(f"Answer rows by {name}", _content(_ref(f"{part}Answers")), asked, **answered)
        },
        root: {"get": _operation(f"Describe {name}", metadata, ())},
        f"{root}/ready": {"get": _operation(f"Say whether {name} answers", metadata, ("503",))},
        f"{root}/infer": {
            "post": _operation(f"Answer tensors by {name}", _content(_ref("InferAnswer")), asked, **tensors)
        },
    }


def _server_paths() -> Json:
    """Return the routes of the server itself."""
    told = _content({"type": "object"})
    page = _content({"type": "string"}, "text/html")
    return {
        "/": {"get": _operation("Try the models by hand", page, ())},
        "/openapi.json": {"get": _operation("This document", told, ())},
        "/metrics": {"get": _operation("Figures for Prometheus", _content({"type": "string"}, "text/plain"), ())},
        "/drift": {"get": _operation("Compare what is asked and answered with the training", told, ())},
        "/v1/models": {"get": _operation("List the models that write texts or give vectors", told, ())},
        "/v2": {"get": _operation("Describe the server", told, ())},
        "/v2/health/live": {"get": _operation("Say whether it runs", told, ())},
        "/v2/health/startup": {"get": _operation("Say whether it has started", told, ())},
        "/v2/health/ready": {"get": _operation("Say whether it answers", told, ("503",))},
        "/v2/repository/index": {
            "post": _operation("List the models", _content({"type": "array", "items": {"type": "object"}}), ())
        },
    }


def _job() -> Json:
    number, either = {"type": ["integer", "null"]}, {"type": ["object", "null"]}
    told = {
        "id": _text(),
        "state": {"enum": list(get_args(State))},
        "model": _text(),
        "version": _text(),
        "digest": {**_text(), "description": "of the bundle that answers: the one at submission, or none"},
        "progress": {**either, "description": "rows answered, `step`, of all rows, `steps`"},
        "result": {"type": ["string", "null"], "description": "where the answers are, once it is done"},
        "rows": number,
        "rows_in_error": number,
        "error": either,
        "tries": {"type": "integer"},
        "created": {"type": "number", "description": "seconds since 1970"},
        "ended": {"type": ["number", "null"]},
    }
    return _object(told, list(told))


def _job_paths(models: list[str]) -> Json:
    """Return the routes of jobs."""
    fields = {
        "model": {"enum": models, "description": "which one; needed where there are several"},
        "version": _text(),
        "output": {"enum": list(get_args(Form)), "description": "the form of the answers; by default like the file"},
        "broken": {"enum": ["row", "skip", "fail"], "description": "what becomes of a row that cannot be answered"},
        "callback": {
            **_text(),
            "description": "a URL to POST the job to when it has ended, where the server allows it",
        },
    }
    parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    content = {type_: {"schema": file} for type_ in dict.fromkeys(SUFFIXES.values())}
    content |= _content(_object({"file": file, **fields}, ["file"]), "multipart/form-data")
    job = _content(_ref("Job"))
    submit = _operation(
        "Predict a file later",
        job,
        ("400", "403", "404", "413", "415", "429", "503", "507"),
        parameters=parameters,
        requestBody={"required": True, "content": content},
    )
    submit["responses"]["202"] = submit["responses"].pop("200")
    one = [{"name": "id", "in": "path", "required": True, "schema": _text()}]
    answers = {SUFFIXES[f".{form}"]: {"schema": file} for form in get_args(Form)}
    return {
        "/jobs": {"post": submit},
        "/jobs/{id}": {
            "get": _operation("Say how far a job is", job, ("404",), parameters=one),
            "delete": _operation("Stop a job; forget one that has ended", job, ("404",), parameters=one),
        },
        "/jobs/{id}/result": {
            "get": _operation("Send a job's answers", answers, ("404", "409"), parameters=one),
        },
    }
