"""The predict routes within one process: what a request leaves behind."""

import asyncio
import gc
import json
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from danlu.serving.answering import Served
from danlu.serving.http.hot import Hot
from danlu.serving.http.protocol import HotProtocol
from danlu.serving.instance import Instance, place_metrics
from danlu.serving.keys import Gate
from danlu.serving.limits import Limits
from danlu.serving.metrics import Table
from danlu.serving.store import Model, Policy

REQUESTS = 200


def ask(path: str, document: Any) -> bytes:
    body = json.dumps(document).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only the short routes are asked")


async def answers(served: Served, request: bytes, times: int) -> tuple[bytes, int]:
    """Ask over one connection; the last answer, and how many objects were left to the garbage collector."""
    loop, table = asyncio.get_running_loop(), Table()
    place_metrics(table.layout, "m", "1")
    hot = Hot(loop, Limits(inline_s=60), Gate((), monotonic))
    instance = Instance("m", "1", served, loop, Limits(inline_s=60), table.row(1))
    hot.add(Model("m", {"1": Path()}, Policy(default="1")), {"1": instance})
    config = uvicorn.Config(nothing, lifespan="off", ws="none", log_config=None)
    config.load()
    server = await loop.create_server(lambda: HotProtocol(hot, config, ServerState(), {}, loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])

    async def once() -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        return head + await reader.readexactly(length)

    for _ in range(20):
        await once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            found = await once()
        left = gc.collect()
    finally:
        gc.enable()
        writer.close()
        server.close()
    return found, left


@pytest.mark.parametrize("path", ["/predict/m", "/v2/models/m/infer"])
@pytest.mark.parametrize("is_good", [True, False])
def test_requests_leave_nothing_to_the_garbage_collector(cancer: Served, path: str, is_good: bool) -> None:
    names = [column.name for column in cancer.columns]
    row: list[Any] = [1.0] * len(names)
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, len(names)], "data": row if is_good else row[1:]}
    rows = [dict(zip(names, row, strict=True))] if is_good else []
    request = ask(path, {"rows": rows} if path.startswith("/predict") else {"inputs": [tensor]})
    found, left = asyncio.run(answers(cancer, request, REQUESTS))
    assert found.startswith(b"HTTP/1.1 200 " if is_good else b"HTTP/1.1 4")
    assert left < REQUESTS
