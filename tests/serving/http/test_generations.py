"""Workers that are replaced, asked for or not, and what their clients notice: nothing, or an honest error."""

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import danlu
from tests.support.serving import PATIENCE_S, Server, serving
from tests.support.soak import Soak, own_answers

Rows = list[dict[str, Any]]
pytestmark = pytest.mark.training
LOAD = "/v2/repository/models/tumour/load"


class Traffic:
    """Clients that ask one row after the other, each on a connection that is kept."""

    def __init__(self, server: Server, rows: Rows, clients: int = 4) -> None:
        self.server, self.rows = server, rows
        self.answers: list[tuple[int, str, str]] = []  # row, version, prediction
        self.failures: list[BaseException] = []
        self.statuses: Counter[int] = Counter()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, number: int) -> None:
        link = http.client.HTTPConnection(*self.server.address, timeout=PATIENCE_S)
        at = number
        while not self.stopped.is_set():
            at = (at + 7) % len(self.rows)
            try:
                link.request("POST", "/predict/tumour", json.dumps({"rows": self.rows[at]}))
                found = link.getresponse()
                told = json.loads(found.read())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                link.close()
                continue
            self.statuses[found.status] += 1
            if found.status == 200:
                self.answers.append((at, told["version"], told["answers"][0]["prediction"]))
        link.close()

    def wait_for(self, more: int) -> None:
        goal = len(self.answers) + more
        until = time.monotonic() + PATIENCE_S
        while len(self.answers) < goal:
            assert time.monotonic() < until, "no answers"
            time.sleep(0.01)


@contextmanager
def traffic(server: Server, rows: Rows) -> Iterator[Traffic]:
    clients = Traffic(server, rows)
    for thread in clients.threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stopped.set()
        for thread in clients.threads:
            thread.join()


@pytest.fixture
def store(tumour_run: Path, other_run: Path, tmp_path: Path) -> Path:
    for version, run in (("1", tumour_run), ("2", other_run)):
        shutil.copytree(run / "model", tmp_path / "store" / "tumour" / version)
    return tmp_path / "store"


def set_policy(store: Path, **policy: object) -> None:
    (store / "tumour" / "serving.json").write_text(json.dumps(policy), encoding="utf-8")


def predictions(store: Path, rows: Rows) -> dict[str, list[str]]:
    """What each version itself predicts."""
    versions = {version: danlu.load(store / "tumour" / version) for version in ("1", "2")}
    return {version: loaded.predict(rows)["prediction"].to_list() for version, loaded in versions.items()}


def test_reloads_under_load_lose_nothing_and_mix_nothing_up(store: Path, tumours: Rows) -> None:
    own = predictions(store, tumours)
    assert own["1"] != own["2"], "the versions can be told apart"
    set_policy(store, default="1")
    with serving(store, "--engine", "numpy", "--workers", "2") as server:
        with traffic(server, tumours) as clients:
            for version in ("2", "1", "2"):
                clients.wait_for(50)
                loaded = server.post(LOAD, {"parameters": {"default": version}})
                assert loaded.status == 200, loaded.body
                assert server.next_event()["event"] == "reloaded"
                assert server.post("/predict/tumour", {"rows": tumours[:1]}).json["version"] == version
            clients.wait_for(50)
        assert clients.failures == [] and set(clients.statuses) == {200}
        assert {version for _, version, _ in clients.answers} == {"1", "2"}
        assert [own[version][at] for at, version, _ in clients.answers] == [told for *_, told in clients.answers]
        back = server.post(LOAD, {"parameters": {"rollback": True}})
        assert [model["version"] for model in back.json["models"]] == ["1"]


def test_a_damaged_version_is_not_loaded_and_the_old_one_goes_on(store: Path, tumours: Rows) -> None:
    set_policy(store, default="1")
    with serving(store, "--engine", "numpy") as server:
        weights = store / "tumour" / "2" / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
        refused = server.post(LOAD, {"parameters": {"default": "2"}})
        assert refused.status == 400 and refused.json["code"] == "DL305"
        assert server.post(LOAD, {"parameters": {"default": "3"}}).status == 404
        assert server.post(LOAD, {"parameters": {"defalt": "2"}}).status == 400
        assert server.post(LOAD, {"parameters": 5}).status == 400
        assert server.post(LOAD, b"{").status == 400
        assert server.post("/v2/repository/models/none/load").status == 404
        assert server.post("/v2/repository/models/%2e%2e/load").status == 404
        assert server.post("/v2/repository/models/tumour/unload").status == 400
        assert server.post("/predict/tumour", {"rows": tumours[:1]}).json["version"] == "1"


def test_aliases_a_canary_and_a_shadow_are_asked_as_the_policy_says(store: Path, tumours: Rows) -> None:
    own = predictions(store, tumours)
    set_policy(store, default="1", aliases={"next": "2"}, canary={"version": "2", "share": 0.5}, shadow="2")
    with serving(store, "--engine", "numpy") as server:
        named = server.post("/predict/tumour/versions/next", {"rows": tumours[:1]}).json
        assert named["version"] == "2"
        asked = [
            server.post("/predict/tumour", {"rows": tumours[:1]}, {"X-Request-Id": f"r{number}"}).json["version"]
            for number in range(40)
        ]
        assert 8 < asked.count("2") < 32
        again = server.post("/predict/tumour", {"rows": tumours[:1]}, {"X-Request-Id": "r0"}).json["version"]
        assert again == asked[0]
        differing = next(at for at in range(len(tumours)) if own["1"][at] != own["2"][at])
        told = [server.post("/predict/tumour", {"rows": tumours[differing]}).json["version"] for _ in range(20)]
        by_first = [*asked, again, *told].count("1")
        wait_until(lambda: counted(server, "danlu_shadowed") == by_first)
        same = own["1"][0] == own["2"][0]
        wrong = told.count("1") + (0 if same else [*asked, again].count("1"))
        assert counted(server, "danlu_shadow_differences") == wrong > 0


def counted(server: Server, name: str) -> float:
    """A counter of version 1, as /metrics has it."""
    start = f'{name}_total{{model="tumour",version="1"}} '
    lines = server.get("/metrics").body.decode().splitlines()
    return next(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def wait_until(met: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_worker_is_replaced_and_its_clients_are_told(tumour_run: Path, tumours: Rows) -> None:
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--workers", "2") as server:
        with traffic(server, tumours) as clients:
            clients.wait_for(50)
            os.kill(server.workers()[0], signal.SIGKILL)
            clients.wait_for(200)
        assert set(clients.statuses) == {200}
        assert all(isinstance(error, OSError | http.client.RemoteDisconnected) for error in clients.failures)
        assert len(clients.failures) <= len(clients.threads)
        assert len(server.workers()) == 2
        assert "danlu_workers_lost_total 1.0" in server.get("/metrics").body.decode().splitlines()
        assert server.stop() == 0


def test_workers_end_when_their_supervisor_is_killed(tumour_run: Path) -> None:
    with serving(f"tumour={tumour_run}", "--engine", "numpy") as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        until = time.monotonic() + PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() and _is_alive(pid) for pid in workers):
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def _is_alive(pid: int) -> bool:
    """Whether a process is more than a line of the table, as those are that nobody waits for in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_successor_may_take_the_port_before_the_server_stops(tumour_run: Path, tumours: Rows) -> None:
    with serving(f"tumour={tumour_run}", "--engine", "numpy") as first:
        port = str(first.address[1])
        with serving(f"tumour={tumour_run}", "--engine", "numpy", "--port", port) as second:
            assert first.stop() == 0
            assert second.post("/predict/tumour", {"rows": tumours[:1]}).status == 200


def test_keys_are_asked_of_all_but_probes(tumour_run: Path, tumours: Rows, tmp_path: Path) -> None:
    import hashlib

    keys = tmp_path / "keys"
    shop, kiosk = (hashlib.sha256(word).hexdigest() for word in (b"secret", b"small"))
    keys.write_text(f"shop {shop}\nkiosk {kiosk} 10\n", encoding="utf-8")
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--workers", "2", "--keys", keys) as server:
        body = {"rows": tumours[:1]}
        assert server.get("/v2/health/live").status == 200
        for path in ("/predict/tumour", "/v2/models/tumour/infer", LOAD):
            assert server.post(path, body).status == 401
            assert server.post(path, body, {"Authorization": "Bearer Secret"}).status == 401
        assert server.get("/metrics").status == 401
        answered = server.post("/predict/tumour", body, {"Authorization": "Bearer secret"})
        assert answered.status == 200
        assert "access-control-allow-origin" not in answered.headers
        began = time.monotonic()  # a limit is that of both workers together; each connection comes to one of them
        statuses = Counter(
            server.post("/predict/tumour", body, {"Authorization": "Bearer small"}).status for _ in range(40)
        )
        assert 10 <= statuses[200] <= 10 + 10 * (time.monotonic() - began)
        assert statuses[200] + statuses[429] == 40


def test_an_address_that_is_taken_is_an_error_of_the_arguments(tumour_run: Path, danlu: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = danlu("serve", tumour_run, "--port", port, "--engine", "numpy")
    assert found.returncode == 2 and f"--port {port}: cannot listen there" in found.stderr


def test_what_was_answered_under_load_is_answered_again_byte_by_byte(
    tumour_run: Path, tumours: Rows, tmp_path: Path, danlu: Any
) -> None:
    log = tmp_path / "log.jsonl"
    with serving(f"tumour={tumour_run}", "--engine", "numpy", "--workers", "2", "--log", log) as server:
        with traffic(server, tumours) as clients:
            clients.wait_for(200)
        assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(clients.answers)
    assert len({line["id"] for line in lines}) == len(lines)
    found = danlu("replay", log, tumour_run, "--json")
    told = json.loads(found.stdout)
    assert (found.returncode, told["requests"], told["equal"]) == (0, len(lines), len(lines)), told


@pytest.mark.slow
def test_through_reloads_successors_and_kills_every_request_has_a_right_answer_or_an_honest_error(
    store: Path, tumours: Rows
) -> None:
    set_policy(store, default="1")
    found = Soak(store, tumours, *own_answers(store, tumours)).run(2000, 4, reloads=3, successors=2, kills=2)
    assert found.is_sound, (found.lost, found.wrong_answers)
    assert (found.done, found.refused) == ({"reload": 3, "successor": 2, "kill": 2}, {})
    assert found.cut <= 2 * 4 and found.right >= 2000 - found.cut


def test_the_fastest_engine_is_measured_once_and_kept(
    tumour_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))
    with serving(f"tumour={tumour_run}") as server:
        chosen = server.events[0]["models"][0]["engine"]
    (kept,) = (tmp_path / "serving").glob("*.json")
    told = json.loads(kept.read_text(encoding="utf-8"))
    assert {"numpy", "torch"} <= set(told["seconds"])
    assert chosen == told["engine"] == min(told["seconds"], key=lambda name: told["seconds"][name])
    kept.write_text(json.dumps({**told, "engine": "torch"}), encoding="utf-8")
    with serving(f"tumour={tumour_run}") as server:
        assert server.events[0]["models"][0]["engine"] == "torch"  # of the cache: nothing is measured again
