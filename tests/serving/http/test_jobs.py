"""Files that are predicted later: by a real server, over real sockets, whatever is killed meanwhile."""

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.data.builtin import read_builtin
from danlu.serving.jobs.job import CallbackList
from tests.support.serving import PATIENCE_S, Answered, Server, serving

CSV = {"content-type": "text/csv"}


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    frame = read_builtin("builtin:breast-cancer").frame
    assert isinstance(frame, pl.DataFrame)
    return frame.head(40)


@pytest.fixture(scope="module")
def called() -> Iterator[list[dict[str, Any]]]:
    """What a listener was told, whose first answer is that it is busy."""
    told: list[dict[str, Any]] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.append({"path": self.path, **json.loads(body)})
            self.send_response(503 if len(told) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    told.append({"url": f"http://127.0.0.1:{listener.server_port}"})
    yield told
    listener.shutdown()


@pytest.fixture(scope="module")
def url(called: list[dict[str, Any]]) -> str:
    return str(called.pop()["url"])


@pytest.fixture(scope="module")
def server(tumour_run: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("jobs")
    with serving(
        f"tumour={tumour_run}", "--engine", "numpy", "--jobs", str(folder), "--callback", f"{url}/told"
    ) as running:
        yield running


def wait(server: Server, job: Answered, state: str = "done", headers: dict[str, str] | None = None) -> Any:
    """The job, once it is in a state."""
    assert job.status == 202, job.body
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = server.ask("GET", f"/jobs/{job.json['id']}", None, headers).json
        if found["state"] == state:
            return found
        assert found["state"] in ("queued", "running"), found
        time.sleep(0.02)
    raise AssertionError(f"not {state}: {found}")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_is_answered_as_predict_answers_it(
    server: Server, tumour_run: Path, rows: pl.DataFrame, suffix: str, tmp_path: Path
) -> None:
    broken = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 7).then(1e300).otherwise("mean area").alias("mean area")
    )
    path = tmp_path / f"rows.{suffix}"
    write, type_ = {
        "csv": (broken.write_csv, "text/csv"),
        "jsonl": (broken.write_ndjson, "application/x-ndjson"),
        "parquet": (broken.write_parquet, "application/vnd.apache.parquet"),
    }[suffix]
    write(path)
    job = server.post("/jobs?model=tumour", path.read_bytes(), {"content-type": type_})
    done = wait(server, job)
    assert done["progress"] == {"step": 40, "steps": 40} or done["progress"] is None  # it was too quick for a beat
    assert (done["rows"], done["rows_in_error"]) == (40, 1)
    assert done["digest"] == server.events[0]["models"][0]["digest"] == job.headers["x-danlu-digest"]
    answers = server.get(done["result"])
    assert answers.status == 200 and answers.headers["content-type"].startswith(type_)
    danlu.predict(tumour_run, path, output=tmp_path / f"expected.{suffix}", engine="numpy")
    if suffix == "parquet":
        assert pl.read_parquet(io.BytesIO(answers.body)).equals(pl.read_parquet(tmp_path / "expected.parquet"))
    else:
        assert answers.body == (tmp_path / f"expected.{suffix}").read_bytes()
    assert b"DL211" in answers.body


def form(fields: dict[str, str], name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    parts = [f'--b\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
    head = "".join(parts) + f'--b\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}


def test_a_form_is_taken_as_well_and_told_of_until_it_is_heard(
    server: Server, url: str, called: list[dict[str, Any]], rows: pl.DataFrame
) -> None:
    fields = {"model": "tumour", "output": "jsonl", "broken": "skip", "callback": f"{url}/told/here"}
    job = server.post("/jobs", *form(fields, "rows.csv", rows.write_csv().encode()))
    done = wait(server, job)
    lines = server.get(done["result"]).body.splitlines()
    assert len(lines) == 40 and set(json.loads(lines[0])) >= {"prediction", "probability"}
    until = time.monotonic() + PATIENCE_S
    while len(called) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert [told["path"] for told in called] == ["/told/here"] * 2
    assert called[1]["id"] == done["id"] and called[1]["state"] == "done" and called[1]["result"] == done["result"]


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "said"),
    [
        ("/jobs?model=other", CSV, b"a\n1\n", 404, "no model 'other'"),
        ("/jobs?model=tumour&version=7", CSV, b"a\n1\n", 404, "no version '7'"),
        ("/jobs?modle=tumour", CSV, b"a\n1\n", 400, "'modle' is no field"),
        ("/jobs?output=xlsx", CSV, b"a\n1\n", 400, "output"),
        ("/jobs?broken=no", CSV, b"a\n1\n", 400, "broken"),
        ("/jobs", {"content-type": "application/x-sqlite3"}, b"a\n1\n", 415, "not taken"),
        ("/jobs", {**CSV, "content-encoding": "gzip"}, b"a\n1\n", 415, "content-encoding"),
        ("/jobs", CSV, b"", 400, "empty"),
        ("/jobs?callback=http://169.254.169.254/told", CSV, b"a\n1\n", 403, "allowed list"),
        ("/jobs?callback=file:///etc/passwd", CSV, b"a\n1\n", 400, "URL"),
        ("/jobs", {"content-type": "multipart/form-data; boundary=b"}, b"--b--\r\n", 400, "no file"),
        ("/jobs", {"content-type": "multipart/form-data"}, b"x", 400, "form"),
        ("/jobs", {**CSV, "content-length": str(2**40)}, b"", 413, "larger"),
    ],
)
def test_what_cannot_be_a_job_is_refused_and_leaves_nothing(
    server: Server, path: str, headers: dict[str, str], body: bytes, status: int, said: str
) -> None:
    answer = server.post(path, body, headers)
    assert answer.status == status, answer.body
    assert said in answer.json["error"]


def test_jobs_that_are_unknown_or_not_done_say_so(server: Server) -> None:
    for method, path in (("GET", "/jobs/none"), ("GET", "/jobs/none/result"), ("DELETE", "/jobs/none")):
        assert server.ask(method, path).status == 404
    wrong = server.post("/jobs", b"a,b\n1,2\n", CSV)
    failed = wait(server, wrong, "failed")
    assert failed["error"]["code"] == "DL210" and "mean radius" in failed["error"]["message"]
    assert "/" not in failed["error"]["message"]
    result = server.get(f"/jobs/{failed['id']}/result")
    assert result.status == 409 and "failed" in result.json["error"]
    assert server.ask("DELETE", f"/jobs/{failed['id']}").status == 200
    assert server.get(f"/jobs/{failed['id']}").status == 404


def test_the_document_describes_jobs(server: Server) -> None:
    document = server.get("/openapi.json").json
    assert {"/jobs", "/jobs/{id}", "/jobs/{id}/result"} <= document["paths"].keys()
    from jsonschema import Draft202012Validator

    schema = {**document["components"]["schemas"]["Job"], "components": document["components"]}
    job = server.post("/jobs", b"a,b\n1,2\n", CSV)
    Draft202012Validator(schema).validate(job.json)
    Draft202012Validator(schema).validate(wait(server, job, "failed"))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://a.example/told", True),
        ("https://a.example/told/7?x=1", True),
        ("https://a.example:443/told", True),
        ("https://a.example/toldx", False),
        ("https://a.example/told/../other", False),
        ("https://a.example/told/%2e%2e/other", False),
        ("http://a.example/told", False),
        ("https://a.example:8443/told", False),
        ("https://a.example.evil.example/told", False),
        ("https://a.example@evil.example/told", False),
        ("https://evil.example/?https://a.example/told", False),
        ("https://a.example\\@evil.example/told", False),
    ],
)
def test_a_callback_goes_nowhere_but_below_an_allowed_url(url: str, allowed: bool) -> None:
    assert CallbackList(("https://a.example/told",)).allows(url) is allowed
    assert not CallbackList().allows(url)


@pytest.mark.slow
def test_jobs_outlive_kills_of_the_server_and_of_its_worker(
    tumour_run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    csv, folder = rows.write_csv().encode(), tmp_path / "jobs"
    options = (f"tumour={tumour_run}", "--engine", "numpy", "--jobs", str(folder))
    ids: list[str] = []
    for kill in ("worker", "server", "worker", "none"):
        with serving(*options) as server:
            ids += [server.post("/jobs", csv, CSV).json["id"] for _ in range(6)]
            if kill == "worker":
                os.kill(runner_of(server, folder), signal.SIGKILL)
            elif kill == "server":
                killed = server
                os.kill(server.process.pid, signal.SIGKILL)
                killed.process.wait()
                continue
            if kill == "none":
                for id_ in ids:
                    wait(server, Answered(202, {}, json.dumps({"id": id_}).encode()))
                bodies = {server.get(f"/jobs/{id_}/result").body for id_ in ids}
    assert len(bodies) == 1 and bodies.pop().count(b"\n") == 41
    with sqlite3.connect(folder / "jobs.sqlite") as kept:
        assert kept.execute("SELECT count(*), sum(state = 'done') FROM danlu_jobs_1").fetchone() == (24, 24)
    assert all(len([*(folder / "files" / id_).iterdir()]) == 1 for id_ in ids)


def runner_of(server: Server, folder: Path) -> int:
    """The process that did the latest job."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with sqlite3.connect(folder / "jobs.sqlite") as kept:
            found = kept.execute(
                "SELECT worker FROM danlu_jobs_1 WHERE worker IS NOT NULL ORDER BY heartbeat DESC"
            ).fetchone()
        if found and Path(f"/proc/{found[0].rpartition(':')[2]}").exists():
            return int(found[0].rpartition(":")[2])
        time.sleep(0.02)
    raise AssertionError("no job was begun")


@pytest.mark.slow
def test_a_job_is_answered_by_the_digest_of_its_submission_or_not_at_all(
    tumour_run: Path, other_run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    """A reload to another version leaves its bundle where it is; one that takes its place is no answer."""
    csv = rows.write_csv().encode()
    store = tmp_path / "store" / "tumour"
    shutil.copytree(tumour_run / "model", store / "1")
    keys = tmp_path / "keys"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    keys.write_text("".join(f"{name} {digest}\n" for name, digest in digests.items()))
    ann, bob = ({"x-api-key": name, **CSV} for name in ("ann", "bob"))
    with serving(
        str(store.parent), "--engine", "numpy", "--jobs", str(tmp_path / "jobs"), "--keys", str(keys)
    ) as server:
        assert server.post("/jobs", csv, CSV).status == 401
        pid = None
        job = server.post("/jobs", csv, ann)
        wait(server, job, headers=ann)
        assert server.ask("GET", f"/jobs/{job.json['id']}", None, bob).status == 404
        assert server.ask("DELETE", f"/jobs/{job.json['id']}", None, bob).status == 404
        pid = runner_of(server, tmp_path / "jobs")
        os.kill(pid, signal.SIGSTOP)  # nobody does jobs for a while
        earlier = server.post("/jobs", csv, ann)
        shutil.copytree(other_run / "model", store / "2")
        assert server.post("/v2/repository/models/tumour/load", {}, ann).status == 200
        later = server.post("/jobs", csv, ann)
        assert (earlier.json["version"], later.json["version"]) == ("1", "2")
        stopped = server.post("/jobs", csv, ann)
        assert server.ask("DELETE", f"/jobs/{stopped.json['id']}", None, ann).json["state"] == "stopped"
        gone = server.post("/jobs?version=2", csv, ann)
        os.kill(pid, signal.SIGCONT)
        assert wait(server, earlier, headers=ann)["digest"] == server.events[0]["models"][0]["digest"]
        assert wait(server, later, headers=ann)["digest"] != earlier.json["digest"]
        wait(server, gone, headers=ann)
        os.kill(pid, signal.SIGSTOP)
        lost = server.post("/jobs", csv, ann)
        shutil.rmtree(store / "2")
        shutil.copytree(tumour_run / "model", store / "2")
        os.kill(pid, signal.SIGCONT)
        failed = wait(server, lost, "failed", ann)
        assert failed["error"]["code"] == "DL301" and lost.json["digest"] in failed["error"]["message"]
        state = server.ask("GET", f"/jobs/{stopped.json['id']}", None, ann).json["state"]
        assert state == "stopped"
