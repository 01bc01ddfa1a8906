"""Servers to compare danlu's with, as their users would write them: rows in JSON, one ONNX file, batches.

Run by benchmarks/serving.py in the environment of the rivals, with SERVING_WAY and SERVING_MODEL set:
`python serving_ways.py PORT`.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 64
WAY = os.environ.get("SERVING_WAY", "")


def session(path: str) -> Callable[[list[dict[str, float]]], list[dict[str, Any]]]:
    """Rows -> answers, computed in one batch."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name

    def answer(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
        matrix = np.array([list(row.values()) for row in rows], dtype=np.float32)
        outputs = opened.run(None, {name: matrix})[0].reshape(len(rows), -1)
        return [{"prediction": int(row.argmax()), "outputs": row.tolist()} for row in outputs]

    return answer


class Batcher:
    """Computes what came in one turn of the loop together."""

    def __init__(self, answer: Callable[[list[Any]], list[Any]]) -> None:
        self.answer = answer
        self.waiting: list[tuple[list[Any], asyncio.Future[list[Any]]]] = []

    async def ask(self, rows: list[Any]) -> list[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self.waiting.append((rows, future))
        if len(self.waiting) == 1:
            loop.call_soon(self.flush)
        return await future

    def flush(self) -> None:
        taken, self.waiting = self.waiting, []
        answers = self.answer([row for rows, _ in taken for row in rows])
        start = 0
        for rows, future in taken:
            if not future.cancelled():
                future.set_result(answers[start : start + len(rows)])
            start += len(rows)


def bare(model: str) -> Any:
    """Return a bare ASGI application with a batcher."""
    import msgspec

    class Body(msgspec.Struct):
        rows: list[dict[str, float]]

    batcher, decoder, encode = Batcher(session(model)), msgspec.json.Decoder(Body), msgspec.json.encode

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        text = encode({"answers": await batcher.ask(decoder.decode(body).rows)})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    gc.collect()
    gc.freeze()
    return app


def asgi(port: int, model: str) -> None:
    import uvicorn

    app = bare(model)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", log_level="error", access_log=False)


def granian(port: int, model: str) -> None:
    import uvloop
    from granian.constants import Interfaces
    from granian.server.embed import Server as Granian

    server = Granian(bare(model), address="127.0.0.1", port=port, interface=Interfaces.ASGI, backpressure=1024)
    uvloop.run(server.serve())


def fastapi(port: int, model: str) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Body(BaseModel):
        rows: list[dict[str, float]]

    batcher, app = Batcher(session(model)), FastAPI()

    async def predict(body: Body) -> dict[str, Any]:
        return {"answers": await batcher.ask(body.rows)}

    app.post("/predict/tumour")(predict)
    gc.collect()
    gc.freeze()
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)


# The classes of these are looked for by the processes that their servers start, so they stand at the top.
if WAY == "mosec":
    import orjson
    from mosec import Server, Worker

    class Answer(Worker):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.answer = session(os.environ["SERVING_MODEL"])

        def deserialize(self, data: bytes) -> Any:
            return orjson.loads(data)

        def serialize(self, data: Any) -> bytes:
            return bytes(orjson.dumps(data))

        def forward(self, data: list[Any]) -> list[Any]:
            counts = [len(each["rows"]) for each in data]
            found = iter(self.answer([row for each in data for row in each["rows"]]))
            return [{"answers": [next(found) for _ in range(count)]} for count in counts]


if WAY == "litserve":
    import litserve as lit

    class Api(lit.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.answer = session(os.environ["SERVING_MODEL"])

        def decode_request(self, request: dict[str, Any]) -> Any:
            return request["rows"]

        def batch(self, inputs: list[Any]) -> list[Any]:
            return inputs

        def predict(self, several: list[Any]) -> list[Any]:
            counts = [len(rows) for rows in several]
            found = iter(self.answer([row for rows in several for row in rows]))
            return [[next(found) for _ in range(count)] for count in counts]

        def unbatch(self, output: list[Any]) -> list[Any]:
            return output

        def encode_response(self, output: Any) -> Any:
            return {"answers": output}


if WAY == "bentoml":
    import bentoml as bento

    @bento.service(workers=1, traffic={"timeout": 60})
    class Tumour:
        def __init__(self) -> None:
            self.answer = session(os.environ["SERVING_MODEL"])

        @bento.api(batchable=True, max_batch_size=MOST, max_latency_ms=1000, route="/predict/tumour")
        def predict(self, rows: list[dict[str, float]]) -> list[dict[str, Any]]:
            return self.answer(rows)


def mosec(port: int, model: str) -> None:
    sys.argv = ["mosec", "--port", str(port), "--address", "127.0.0.1", "--log-level", "error"]
    server = Server()
    server.append_worker(Answer, num=2, max_batch_size=32, route="/predict/tumour")
    server.run()


def litserve(port: int, model: str) -> None:
    api = Api(max_batch_size=MOST, batch_timeout=0.001, api_path="/predict/tumour")
    lit.LitServer(api, accelerator="cpu").run(
        port=port, host="127.0.0.1", log_level="error", generate_client_file=False
    )


def bentoml(port: int, model: str) -> None:
    command = ["bentoml", "serve", "serving_ways:Tumour", "--port", str(port), "--host", "127.0.0.1"]
    os.chdir(Path(__file__).parent)
    os.execv(Path(sys.executable).with_name("bentoml"), command)  # noqa: S606


WAYS = {"asgi": asgi, "granian": granian, "fastapi": fastapi, "mosec": mosec, "litserve": litserve, "bentoml": bentoml}

if __name__ == "__main__":
    WAYS[WAY](int(sys.argv[1]), os.environ["SERVING_MODEL"])
