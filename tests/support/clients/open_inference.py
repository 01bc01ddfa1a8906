"""Ask a server by tritonclient and by KServe's client, unchanged; run in the environment that `make clients` makes.

In: the server's address, a model of numbers, and a JSON file of its rows. Out: a JSON document of what each client got.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


def words(values):
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def by_triton(address, model, rows):
    client, found = triton.InferenceServerClient(address), {}
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
    assert [each["name"] for each in client.get_model_metadata(model)["inputs"]] == list(rows[0])
    for asked in (True, False):
        for answered in (True, False):
            inputs = [triton.InferInput(name, [len(rows)], "FP64") for name in rows[0]]
            for each in inputs:
                each.set_data_from_numpy(np.array([row[each.name()] for row in rows]), binary_data=asked)
            outputs = [
                triton.InferRequestedOutput(name, binary_data=answered) for name in ("prediction", "probability")
            ]
            got = client.infer(model, inputs, outputs=outputs)
            told = {
                "prediction": words(got.as_numpy("prediction")),
                "probability": got.as_numpy("probability").tolist(),
            }
            found[
                f"tritonclient, asked in {'bytes' if asked else 'JSON'}, answered in {'bytes' if answered else 'JSON'}"
            ] = told
    return found


async def by_kserve(url, model, rows):
    client, found = InferenceRESTClient(RESTConfig(protocol="v2")), {}
    assert await client.is_server_ready(url) and await client.is_model_ready(url, model)
    for binary in (True, False):
        inputs = [InferInput(name, [len(rows)], "FP64") for name in rows[0]]
        for each in inputs:
            each.set_data_from_numpy(np.array([row[each.name] for row in rows]), binary_data=binary)
        got = await client.infer(url, InferRequest(model_name=model, infer_inputs=inputs), model_name=model)
        outputs = {each.name: each for each in got.outputs}
        found[f"kserve, {'bytes' if binary else 'JSON'}"] = {
            "prediction": words(outputs["prediction"].as_numpy().tolist()),
            "probability": outputs["probability"].as_numpy().tolist(),
        }
    return found


url, model, file = sys.argv[1:]
rows = json.loads(Path(file).read_text())
found = by_triton(url.removeprefix("http://"), model, rows) | asyncio.run(by_kserve(url, model, rows))
sys.stdout.write(json.dumps(found) + "\n")
