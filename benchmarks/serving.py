"""Measure `danlu serve` beside other servers on loopback: requests a second, delays, CPU and memory.

    python benchmarks/serving.py --rivals VENV/bin/python [--rounds 3] [--seconds 3]

All answer one row of 30 numbers a request from the same ONNX file. All are started, then asked in turns, for a second
or so each; a ratio is the median of the ratios within a round. The load generator shares the cores; it is wrk where
that is installed, since one in Python is the first to be busy, at some 28,000 requests a second. danlu validates,
limits, counts and names its digest; the others do what their users would write (benchmarks/serving_ways.py).
"""

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATH = "/predict/tumour"
CLIENTS = (1, 16, 64)
STARTED_S = 120.0


@dataclass(frozen=True)
class Load:
    """What one round of one server was."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int


def load(port: int, body: bytes, clients: int, seconds: float) -> Load:
    """Ask over so many connections, one request at a time on each."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    asked = head.encode() + body
    poll, links = connected(port, clients)
    rest: dict[int, bytes] = {}
    began: dict[int, float] = {}
    delays: list[float] = []
    failed, start = 0, time.perf_counter()
    for number, link in links.items():
        rest[number], began[number] = b"", time.perf_counter()
        link.sendall(asked)
    while time.perf_counter() - start < seconds:
        for number, _ in poll.poll(1):
            rest[number] += links[number].recv(65_536)
            if not is_whole(rest[number]):
                continue
            failed += not rest[number].startswith(b"HTTP/1.1 200")
            now = time.perf_counter()
            delays.append(now - began[number])
            rest[number], began[number] = b"", now
            links[number].sendall(asked)
    taken = time.perf_counter() - start
    for link in links.values():
        link.close()
    delays.sort()
    return Load(
        len(delays) / taken,
        1e3 * delays[len(delays) // 2],
        1e3 * delays[min(len(delays) - 1, len(delays) * 99 // 100)],
        failed,
    )


def connected(port: int, clients: int) -> tuple[select.epoll, dict[int, socket.socket]]:
    """Return connections by their file numbers, and what tells which of them can be read from."""
    poll = select.epoll()
    links: dict[int, socket.socket] = {}
    for _ in range(clients):
        link = socket.create_connection(("127.0.0.1", port), timeout=30)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        links[link.fileno()] = link
        poll.register(link.fileno(), select.EPOLLIN)
    return poll, links


def is_whole(answer: bytes) -> bool:
    """Return whether an answer has arrived to its end."""
    end, length = answer.find(b"\r\n\r\n"), answer.lower().find(b"content-length: ")
    return end >= 0 and len(answer) >= end + 4 + int(answer[length + 16 :].split(b"\r", 1)[0])


def wrk(port: int, body: bytes, clients: int, seconds: float) -> Load:
    """Ask as `load` does, by wrk, which is compiled and costs a fifth."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        header = 'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
        script.write(f"{header}wrk.body = [==[{body.decode()}]==]\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency", "-s", script.name]
        url = f"http://127.0.0.1:{port}{PATH}"
        told = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^ +(50|99)%\s+(\S+)", told, re.MULTILINE))
    failed = sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", told)))
    rate = re.search(r"Requests/sec: +([\d.]+)", told)
    assert rate, told
    return Load(float(rate[1]), milliseconds(found["50"]), milliseconds(found["99"]), failed)


def milliseconds(told: str) -> float:
    """Return what wrk writes as 640.00us, 1.20ms or 3.00s."""
    number = float(told.rstrip("umsh"))
    return number * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}[told.lstrip("-0123456789.")]


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return [pid, *(below for child in told.split() for below in tree(int(child)))]


def memory_mb(pid: int) -> float:
    """Proportional set size of a process and all below it."""
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu_s(pid: int) -> float:
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command: list[str], port: int, body: bytes) -> Iterator[int]:
    """Run a server until the block ends; its process id."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    try:
        until = time.monotonic() + STARTED_S
        while True:
            try:
                if load(port, body, 1, 0.2).failed == 0:
                    break
            except (OSError, IndexError, ValueError):
                pass
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"did not start: {' '.join(command)}")
            time.sleep(0.2)
        yield process.pid
    finally:
        end(process, 10)


def end(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """End a server and all below it, which may have ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as link:
        return int(link.getsockname()[1])


def prepare(folder: Path, bundle: Path | None) -> tuple[Path, bytes]:
    """A bundle with its ONNX file, made where none is given, and the body of a request."""
    import polars as pl

    import danlu
    from danlu.data.builtin import read_builtin

    recipe = {
        "name": "tumour",
        "data": {"source": "builtin:breast-cancer"},
        "model": {"name": "mlp", "hidden": [64, 64]},
        "training": {"epochs": 3},
    }
    if bundle is None:
        run, bundle = danlu.run(recipe, output=folder).path, folder / "bundle"
        danlu.export(run, bundle, to="onnx", into=True)
    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect()
    row = frame.select(pl.col(pl.Float64, pl.Int64)).head(1).to_dicts()
    return bundle, json.dumps({"rows": row}).encode()


def commands(bundle: Path, rivals: str, only: list[str]) -> dict[str, tuple[list[str], int]]:
    """Each server's command and its port."""
    found: dict[str, tuple[list[str], int]] = {}
    for name, options in {
        "danlu, 1 worker": ["--engine", "onnxruntime"],
        "danlu, 2 workers": ["--engine", "onnxruntime", "--workers", "2"],
        "danlu numpy, 2 workers": ["--engine", "numpy", "--workers", "2"],
    }.items():
        port = free_port()
        command = [sys.executable, "-m", "danlu", "serve", f"tumour={bundle}", "--port", str(port), *options]
        found[name] = command, port
    ways = Path(__file__).with_name("serving_ways.py")
    for way in only:
        port = free_port()
        given = [f"SERVING_WAY={way}", f"SERVING_MODEL={bundle / 'model.onnx'}"]
        found[way] = ["/usr/bin/env", "-u", "PYTHONPATH", *given, rivals, str(ways), str(port)], port
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rivals", default=sys.executable)
    parser.add_argument("--ways", nargs="*", default=["asgi", "granian", "fastapi", "mosec", "litserve", "bentoml"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, nargs="*", default=list(CLIENTS))
    parser.add_argument("--bundle", type=Path, help="a bundle of such a model with its ONNX file")
    chosen = parser.parse_args()
    ask = wrk if shutil.which("wrk") else load
    with tempfile.TemporaryDirectory() as folder:
        bundle, body = prepare(Path(folder), chosen.bundle)
        servers = commands(bundle, chosen.rivals, chosen.ways)
        seen: dict[tuple[str, int], list[Load]] = {}
        costs: dict[str, list[tuple[float, float]]] = {}
        with contextlib.ExitStack() as stack:
            started = {
                name: stack.enter_context(running(command, port, body)) for name, (command, port) in servers.items()
            }
            for _ in range(chosen.rounds):
                for clients in chosen.clients:
                    for name, (_, port) in servers.items():
                        before = cpu_s(started[name])
                        found = ask(port, body, clients, chosen.seconds)
                        spent = (cpu_s(started[name]) - before) / max(1.0, found.rate * chosen.seconds)
                        seen.setdefault((name, clients), []).append(found)
                        if clients == chosen.clients[-1]:
                            costs.setdefault(name, []).append((1e6 * spent, memory_mb(started[name])))
        report(servers, chosen.clients, seen, costs)


def report(
    servers: dict[str, tuple[list[str], int]],
    clients: list[int],
    seen: dict[tuple[str, int], list[Load]],
    costs: dict[str, list[tuple[float, float]]],
) -> None:
    first = next(iter(servers))
    print(f"| server | clients | requests/s | p50 ms | p99 ms | rate, p99 of {first} | failed |")
    print("|---|---|---|---|---|---|---|")
    for count in clients:
        for name in servers:
            rounds, base = seen[name, count], seen[first, count]
            ratio = statistics.median(one.rate / other.rate for one, other in zip(rounds, base, strict=True))
            slower = statistics.median(one.p99_ms / other.p99_ms for one, other in zip(rounds, base, strict=True))
            print(
                f"| {name} | {count} | {statistics.median(each.rate for each in rounds):,.0f} "
                f"| {statistics.median(each.p50_ms for each in rounds):.2f} "
                f"| {statistics.median(each.p99_ms for each in rounds):.2f} | {ratio:.2f}, {slower:.2f} "
                f"| {sum(each.failed for each in rounds)} |"
            )
    print(f"\n| server | us CPU a request at {clients[-1]} | PSS MB |\n|---|---|---|")
    for name, found in costs.items():
        print(
            f"| {name} | {statistics.median(c for c, _ in found):.0f} | {statistics.median(m for _, m in found):.0f} |"
        )


if __name__ == "__main__":
    main()
