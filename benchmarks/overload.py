"""What a server answers in time when three times as much is asked of it as it can answer.

    HI=-10 python benchmarks/overload.py [--seconds 30] [--connections 256] [--times 3] [--deadline-ms 100]

Requests of 8 pictures to a convolutional network by ONNX Runtime come at fixed moments, whatever became of earlier
ones; a request counts as answered in time where its answer was read within the deadline of that moment. Capacity is
what the same generator gets over the same connections when each asks again as soon as it has its answer, without
deadlines. Beside it stands a plain queue: the same load without deadlines. The generator shares the cores.
"""

import argparse
import base64
import json
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import serving

PICTURES = 8
CAPACITY_S = 5.0


@dataclass
class Seen:
    """What became of a load: requests offered, answered in time and late, refused and waiting at the end."""

    offered: int = 0
    in_time: int = 0
    late: int = 0
    others: Counter[int] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    seconds: float = 0.0


def ask(port: int, body: bytes, connections: int, seconds: float, rate: float, deadline_ms: float, told: bool) -> Seen:
    """Ask at a rate, or, where that is 0, again and again on every connection.

    Args:
        told: whether the server is told the deadline.
    """
    lines = f"x-deadline-ms: {deadline_ms:g}\r\n" if told else ""
    head = f"POST {serving.PATH} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n"
    asked, seen = head.encode() + body, Seen()
    poll, links = serving.connected(port, connections)
    rest: dict[int, bytes] = {}
    began: dict[int, float] = {}
    free, due = deque(links), deque[float]()
    start = now = time.perf_counter()
    while now - start < seconds:
        if rate:
            while seen.offered < (now - start) * rate:
                due.append(start + seen.offered / rate)
                seen.offered += 1
        else:
            due.extend([now] * len(free))
            seen.offered += len(free)
        while due and free:
            number = free.popleft()
            began[number], rest[number] = due.popleft(), b""
            links[number].sendall(asked)
        for number, _ in poll.poll(0.001):
            rest[number] += links[number].recv(65_536)
            if not serving.is_whole(rest[number]):
                continue
            took, status = time.perf_counter() - began[number], int(rest[number][9:12])
            free.append(number)
            if status != 200:
                seen.others[status] += 1
                continue
            seen.delays.append(took)
            seen.in_time += took <= deadline_ms / 1000
            seen.late += took > deadline_ms / 1000
        now = time.perf_counter()
    seen.seconds = now - start
    for link in links.values():
        link.close()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument("--bundle", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(chosen.bundle or prepare(Path(folder)), chosen)


def prepare(folder: Path) -> Path:
    """Train a network for pictures of digits, and return its bundle with an ONNX file."""
    import danlu

    recipe = {"name": "digits", "data": {"source": "builtin:digits"}, "training": {"epochs": 1}}
    run = danlu.run(recipe, output=folder).path
    danlu.export(run, folder / "bundle", to="onnx", into=True)
    return folder / "bundle"


def pictures() -> bytes:
    """Return the body of a request."""
    from danlu.data.builtin import read_builtin

    files = read_builtin("builtin:digits").frame.lazy().select("image").head(PICTURES).collect()["image"]
    return json.dumps({"rows": [base64.b64encode(file).decode() for file in files]}).encode()


def measure(bundle: Path, chosen: argparse.Namespace) -> None:
    body, port = pictures(), serving.free_port()
    command = [sys.executable, "-m", "danlu", "serve", f"tumour={bundle}", "--engine", "onnxruntime"]
    command += ["--port", str(port)]
    with serving.running(command, port, body) as pid:
        ask(port, body, chosen.connections, 2.0, 0, chosen.deadline_ms, False)
        most = capacity(pid, port, body, chosen)
        for name, told in (("deadlines", True), ("plain queue", False)):
            before, spent = serving.memory_mb(pid), serving.cpu_s(pid)
            seconds = chosen.seconds if told else min(10.0, chosen.seconds)
            found = ask(port, body, chosen.connections, seconds, chosen.times * most, chosen.deadline_ms, told)
            after, spent = serving.memory_mb(pid), serving.cpu_s(pid) - spent
            then, most = most, capacity(pid, port, body, chosen)
            tell(name, found, (then + most) / 2, spent)
            print(f"  memory {before:.0f} -> {after:.0f} MB", flush=True)


def capacity(pid: int, port: int, body: bytes, chosen: argparse.Namespace) -> float:
    """Return the requests a second that are answered when each connection asks again at once."""
    spent = serving.cpu_s(pid)
    found = ask(port, body, chosen.connections, CAPACITY_S, 0, chosen.deadline_ms, False)
    rate = (found.in_time + found.late) / found.seconds
    spent = (serving.cpu_s(pid) - spent) / found.seconds
    print(f"capacity {rate:,.0f} requests/s of {PICTURES} pictures, {spent:.2f} cores", flush=True)
    return rate


def tell(name: str, found: Seen, most: float, spent_s: float) -> None:
    """Print what became of a load beside the capacity before and after it."""
    rate, delays = found.in_time / found.seconds, sorted(found.delays) or [0.0]
    p50, p99 = (1e3 * delays[len(delays) * share // 100] for share in (50, 99))
    print(
        f"{name}: offered {found.offered / found.seconds:,.0f}/s for {found.seconds:.0f} s, in time {rate:,.0f}/s = "
        f"{rate / most:.0%} of the capacity before and after, late {found.late}, others {dict(found.others)}, "
        f"answered p50 {p50:.0f} ms, p99 {p99:.0f} ms, {spent_s / found.seconds:.2f} cores"
    )


if __name__ == "__main__":
    main()
