"""Measure `danlu serve` writing texts: tokens a second of 64 streams, beside one by one and `transformers serve`.

    python benchmarks/serving_language.py --rival VENV/bin/python [--rounds 5] [--streams 64] [--tokens 64]

VENV has `transformers[serving]`. One tiny llama is trained here, and exported to the folder that transformers reads.
Every server is up at once and all are asked in turns within a round, greedily, over streams of `/v1/chat/completions`
with 64 different questions behind one system text; a ratio is the median of the ratios within a round. Tokens are those
that each server's own usage counts. The load generator shares the cores.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import serving

WRITTEN = re.compile(rb'"completion_tokens":\s*(\d+)')
STARTED_S = 240.0
READY = ("/health", "/v2/health/ready")  # of transformers, and of danlu
ALONE = 6  # requests of a round that are asked one by one
SYSTEM = "You help people with their computers, and answer in a sentence or two. " * 2
RECIPE: dict[str, Any] = {
    "data": {"vocabulary": 1000, "sequence_length": 256},
    "model": {
        "name": "hf:llama",
        "config": {
            "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256,
        },
    },
    "training": {"batch_size": 8, "max_steps": 30, "optimizer": {"lr": 3e-3}},
    "evaluation": {"baselines": False},
}  # fmt: skip


@dataclass(frozen=True)
class Load:
    """What one round of one server was."""

    tokens_per_s: float
    first_ms: float
    failed: int


@dataclass(frozen=True)
class Way:
    """One server and how it is asked."""

    name: str
    port: int
    model: str
    streams: int
    requests: int


async def ask(way: Way, question: str, tokens: int) -> tuple[int, float]:
    """Ask once; the tokens that were written, and the seconds until the first piece came."""
    body = json.dumps(
        {
            "model": way.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
    writer.write(head.encode() + body)
    told, first = b"", 0.0
    while piece := await reader.read(65_536):
        told += piece
        if not first and b'"content":' in told:
            first = time.perf_counter() - began
    writer.close()
    found = WRITTEN.findall(told)
    return (int(found[-1]) if found and b" 200 " in told[:20] else 0), first


def load(way: Way, questions: list[str], tokens: int) -> Load:
    """Ask all requests of a round, so many at a time."""

    async def run() -> list[tuple[int, float]]:
        turns = asyncio.Semaphore(way.streams)

        async def one(question: str) -> tuple[int, float]:
            async with turns:
                return await ask(way, question, tokens)

        return await asyncio.gather(*(one(questions[at % len(questions)]) for at in range(way.requests)))

    began = time.perf_counter()
    answers = asyncio.run(run())
    taken = time.perf_counter() - began
    written = [count for count, _ in answers]
    firsts = [first for _, first in answers if first]
    return Load(sum(written) / taken, 1e3 * statistics.median(firsts or [0.0]), written.count(0))


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, process_group=0)
    try:
        until = time.monotonic() + STARTED_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{READY['danlu' in command]}", timeout=5).read()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit(f"{command[:4]} did not start:\n{log.read_text()[-3000:]}") from None
                time.sleep(0.5)
        yield
    finally:
        serving.end(process, 20)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rival", help="python of an environment with transformers[serving]")
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--streams", type=int, default=64)
    reader.add_argument("--tokens", type=int, default=64)
    reader.add_argument("--keep", help="folder of the model and its export, made where it is empty")
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run, exported = make_model(folder)
        ports = [serving.free_port(), serving.free_port()]
        commands = [[sys.executable, "-m", "danlu", "serve", f"chat={run}", "--port", str(ports[0])]]
        ways = [
            Way(f"danlu, {given.streams} streams", ports[0], "chat", given.streams, given.streams),
            Way("danlu, one by one", ports[0], "chat", 1, ALONE),
        ]
        if given.rival:
            commands.append(rival(given.rival, exported, ports[1]))
            ways.append(
                Way(
                    f"transformers serve, {given.streams} streams",
                    ports[1],
                    str(exported),
                    given.streams,
                    given.streams,
                )
            )
            ways.append(Way("transformers serve, one by one", ports[1], str(exported), 1, ALONE))
        measure(commands, ports, ways, given.rounds, given.tokens, Path(temporary))


def make_model(folder: Path) -> tuple[Path, Path]:
    """Return a run and its export for transformers."""
    run, exported = folder / "run", folder / "exported"
    if not exported.exists():
        rows = [
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": question[::-1]}]}
            for question in questions(200)
        ]
        source = folder / "chats.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        recipe = folder / "recipe.json"
        recipe.write_text(json.dumps({**RECIPE, "data": {**RECIPE["data"], "source": str(source)}}), encoding="utf-8")
        danlu = [sys.executable, "-m", "danlu"]
        subprocess.run(
            [*danlu, "run", str(recipe), "-o", str(folder), "--name", "run"], check=True, capture_output=True
        )
        subprocess.run(
            [*danlu, "export", str(run), str(exported), "--to", "transformers"], check=True, capture_output=True
        )
    return run, exported


def questions(count: int) -> list[str]:
    """Return different questions of about one length."""
    things = ("printer", "screen", "router", "keyboard", "laptop", "phone", "modem", "scanner")
    faults = ("is black", "does not start", "makes noise", "is slow", "is lost", "is hot", "blinks", "restarts")
    return [
        f"My {things[at % 8]} {faults[at // 8 % 8]} since {1 + at // 64} days, what can I do about it?"
        for at in range(count)
    ]


def rival(python: str, exported: Path, port: int) -> list[str]:
    """Return the command of `transformers serve` as its documentation has it for continuous batching."""
    serve = "from transformers.cli.transformers import main; main()"
    options = [
        "--continuous-batching",
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    return [python, "-c", serve, "serve", str(exported), *options]


def measure(commands: list[list[str]], ports: list[int], ways: list[Way], rounds: int, tokens: int, logs: Path) -> None:
    """Start all servers, ask them in turns, and print a table."""

    asked = questions(64)
    found: dict[str, list[Load]] = {way.name: [] for way in ways}
    with ExitStack() as stack:
        for number, command in enumerate(commands):
            stack.enter_context(running(command, ports[number], logs / f"{number}.log"))
        for way in ways:  # each has answered once before anything counts
            load(way, asked, 8)
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                found[way.name].append(load(way, asked, tokens))
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    features = [name for name in ("avx2", "avx512f", "amx_tile") if name in flags]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {', '.join(features)}; load {os.getloadavg()[0]:.1f}")
    print(
        "torch {}, transformers {}, Python {}".format(
            version("torch"), version("transformers"), platform.python_version()
        )
    )
    first = found[ways[0].name]
    print("| way | tokens/s | first piece, ms | failed | danlu's streams by it |\n|---|---|---|---|---|")
    for way in ways:
        loads = found[way.name]
        ratios = [ours.tokens_per_s / max(its.tokens_per_s, 1e-9) for ours, its in zip(first, loads, strict=True)]
        rate = statistics.median(each.tokens_per_s for each in loads)
        wait = statistics.median(each.first_ms for each in loads)
        failed, ratio = sum(each.failed for each in loads), statistics.median(ratios)
        print(f"| {way.name} | {rate:,.0f} | {wait:,.0f} | {failed} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
