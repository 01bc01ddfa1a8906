"""Ask a server as its clients' libraries do. A program of the environment `.venv-clients`, which has no danlu.

In: which library, since not both can be imported, and a file of JSON with addresses and columns of rows. Out: JSON,
for each way to ask the predictions and probabilities of the rows.
"""

import asyncio
import json
import sys

import numpy as np

if sys.argv[1] == "kserve":
    import kserve
else:
    import tritonclient.grpc
    import tritonclient.http

given = json.load(open(sys.argv[2], encoding="utf-8"))  # noqa: SIM115, PTH123
MODEL = given["model"]
COLUMNS = {
    name: (
        np.array([cell.encode() for cell in cells], dtype=object)
        if isinstance(cells[0], str)
        else np.array(cells, dtype=np.float64)
    )
    for name, cells in given["columns"].items()
}
TYPES = {name: "BYTES" if cells.dtype == object else "FP64" for name, cells in COLUMNS.items()}


def told(prediction, probabilities):
    words = [each.decode() if isinstance(each, bytes) else str(each) for each in np.ravel(prediction).tolist()]
    return {"prediction": words, "probabilities": np.asarray(probabilities, dtype=float).tolist()}


def triton_over_http(asks_in_binary, answers_in_binary):
    client = tritonclient.http.InferenceServerClient(given["http"])
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    inputs = [tritonclient.http.InferInput(name, [len(cells)], TYPES[name]) for name, cells in COLUMNS.items()]
    for each, cells in zip(inputs, COLUMNS.values(), strict=True):
        each.set_data_from_numpy(cells, binary_data=asks_in_binary)
    names = ("prediction", "probabilities")
    outputs = [tritonclient.http.InferRequestedOutput(name, binary_data=answers_in_binary) for name in names]
    result = client.infer(MODEL, inputs, outputs=outputs, request_id="7")
    assert result.get_response()["id"] == "7"
    return told(result.as_numpy("prediction"), result.as_numpy("probabilities"))


def triton_with_defaults():
    client = tritonclient.http.InferenceServerClient(given["http"])
    assert client.get_server_metadata()["name"] == "danlu"
    assert {each["name"] for each in client.get_model_metadata(MODEL)["inputs"]} == set(COLUMNS)
    inputs = [tritonclient.http.InferInput(name, [len(cells)], TYPES[name]) for name, cells in COLUMNS.items()]
    for each, cells in zip(inputs, COLUMNS.values(), strict=True):
        each.set_data_from_numpy(cells)
    result = client.infer(MODEL, inputs, request_compression_algorithm="gzip")
    return told(result.as_numpy("prediction"), result.as_numpy("probabilities"))


def triton_over_grpc():
    client = tritonclient.grpc.InferenceServerClient(given["grpc"])
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert client.get_server_metadata().name == "danlu"
    assert {each.name for each in client.get_model_metadata(MODEL).inputs} == set(COLUMNS)
    inputs = [tritonclient.grpc.InferInput(name, [len(cells)], TYPES[name]) for name, cells in COLUMNS.items()]
    for each, cells in zip(inputs, COLUMNS.values(), strict=True):
        each.set_data_from_numpy(cells)
    result = client.infer(MODEL, inputs, request_id="7", client_timeout=60, compression_algorithm="gzip")
    assert result.get_response().id == "7"
    return told(result.as_numpy("prediction"), result.as_numpy("probabilities"))


def kserve_request(asks_in_binary, answers_in_binary):
    inputs = [kserve.InferInput(name, [len(cells)], TYPES[name]) for name, cells in COLUMNS.items()]
    for each, cells in zip(inputs, COLUMNS.values(), strict=True):
        each.set_data_from_numpy(cells, binary_data=asks_in_binary)
    more = {} if answers_in_binary is None else {"parameters": {"binary_data_output": answers_in_binary}}
    return kserve.InferRequest(MODEL, inputs, request_id="7", **more)


def of_kserve(response):
    assert response.id == "7"
    outputs = {output.name: output for output in response.outputs}
    return told(outputs["prediction"].as_numpy(), outputs["probabilities"].as_numpy())


async def kserve_over_http(asks_in_binary, answers_in_binary):
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    url = f"http://{given['http']}"
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, MODEL)
    response = await client.infer(url, kserve_request(asks_in_binary, answers_in_binary), model_name=MODEL)
    await client.close()
    return of_kserve(response)


async def kserve_over_grpc(asks_in_binary):
    client = kserve.InferenceGRPCClient(given["grpc"])
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(MODEL)
    response = await client.infer(kserve_request(asks_in_binary, None))
    await client.close()
    return of_kserve(response)


WAYS = [(asks, answers) for asks in (False, True) for answers in (False, True)]


def with_tritonclient():
    found = {"defaults": triton_with_defaults(), "gRPC": triton_over_grpc()}
    return found | {f"{asks}, {answers}": triton_over_http(asks, answers) for asks, answers in WAYS}


def with_kserve():
    found = {f"{asks}, {answers}": asyncio.run(kserve_over_http(asks, answers)) for asks, answers in WAYS}
    return found | {f"gRPC, {is_raw}": asyncio.run(kserve_over_grpc(is_raw)) for is_raw in (False, True)}


json.dump(with_kserve() if sys.argv[1] == "kserve" else with_tritonclient(), sys.stdout)
