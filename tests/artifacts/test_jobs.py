"""A store of jobs: one holder each, leases that run out, ends that are recorded once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from danlu.artifacts.jobs import JobStore, LostLease, NewJob
from danlu.errors import ArgumentError, ArtifactError
from tests.support.postgres import running_postgres

LEASE_S = 30.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> JobStore:
    return JobStore.open(tmp_path / "jobs", clock=clock)


def claim(store: JobStore, worker: str = "one") -> object:
    return store.claim(["sum"], worker=worker, lease_s=LEASE_S)


def test_jobs_are_done_in_the_order_in_which_they_came(store: JobStore, clock: Clock) -> None:
    asked = []
    for number in range(3):
        clock.now += 1
        asked.append(store.submit(NewJob("sum", {"number": number})).id)
    held = [store.claim(["sum"], worker="one", lease_s=LEASE_S) for _ in range(4)]
    assert [job and job.id for job in held] == [*asked, None]
    assert [job.payload["number"] for job in held if job] == [0, 1, 2]


def test_a_worker_takes_only_the_kinds_that_it_knows(store: JobStore) -> None:
    store.submit(NewJob("other", {}))
    assert claim(store) is None


def test_a_lease_that_ran_out_gives_the_job_to_another_and_the_first_records_nothing(
    store: JobStore, clock: Clock
) -> None:
    asked = store.submit(NewJob("sum", {}))
    first = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    assert first is not None
    assert claim(store, "two") is None
    clock.now += LEASE_S + 1
    second = store.claim(["sum"], worker="two", lease_s=LEASE_S)
    assert second is not None and second.id == first.id and second.token == first.token + 1
    for late in (
        lambda: store.heartbeat(first, lease_s=LEASE_S),
        lambda: store.complete(first, "late"),
        lambda: store.fail(first, {"code": "DL900", "message": "late"}),
        lambda: store.release(first),
    ):
        with pytest.raises(LostLease):
            late()
    store.complete(second, "in time")
    with pytest.raises(LostLease):
        store.complete(second, "twice")
    found = store.get(asked.id)
    assert found is not None and (found.state, found.result, found.tries) == ("done", "in time", 2)


def test_a_heartbeat_keeps_the_job_and_tells_how_far_it_is(store: JobStore, clock: Clock) -> None:
    asked = store.submit(NewJob("sum", {}))
    held = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    assert held is not None
    for step in range(3):
        clock.now += LEASE_S - 1
        store.heartbeat(held, lease_s=LEASE_S, progress={"step": step, "steps": 3})
        assert claim(store, "two") is None
    found = store.get(asked.id)
    assert found is not None and found.progress == {"step": 2, "steps": 3} and found.heartbeat == clock.now


def test_a_job_that_kills_its_workers_fails_at_last(store: JobStore, clock: Clock) -> None:
    asked = store.submit(NewJob("sum", {}, most_tries=2))
    for _ in range(2):
        assert claim(store) is not None
        clock.now += LEASE_S + 1
    assert claim(store) is None
    found = store.get(asked.id)
    assert found is not None and found.state == "failed" and found.error is not None
    assert found.error["code"] == "DL605" and "2 times" in found.error["message"]


def test_a_passing_error_is_tried_again_later_and_a_lasting_one_is_not(store: JobStore, clock: Clock) -> None:
    asked = store.submit(NewJob("sum", {}, most_tries=2))
    told = {"code": "DL900", "message": "busy"}
    held = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    assert held is not None
    store.fail(held, told, again_s=10)
    assert claim(store) is None
    clock.now += 11
    held = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    assert held is not None and held.tries == 2
    store.fail(held, told, again_s=10)  # the last try
    found = store.get(asked.id)
    assert found is not None and (found.state, found.error) == ("failed", told)


def test_a_job_given_back_has_lost_no_try(store: JobStore) -> None:
    store.submit(NewJob("sum", {}))
    for _ in range(5):
        held = store.claim(["sum"], worker="one", lease_s=LEASE_S)
        assert held is not None and held.tries == 1
        store.release(held)


def test_a_stopped_job_is_taken_from_its_worker_and_stays_stopped(store: JobStore) -> None:
    waiting, running = store.submit(NewJob("sum", {})), None
    running = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    later = store.submit(NewJob("sum", {}))
    assert running is not None and running.id == waiting.id
    for each in (waiting, later):
        stopped = store.stop(each.id)
        assert stopped is not None and stopped.state == "stopped"
    with pytest.raises(LostLease):
        store.heartbeat(running, lease_s=LEASE_S)
    with pytest.raises(LostLease):
        store.complete(running, 1)
    assert claim(store) is None
    assert store.stop("none") is None


@pytest.mark.parametrize("end", ["complete", "fail", "stop", "spent"])
def test_what_follows_a_job_is_queued_once_however_it_ends(store: JobStore, clock: Clock, end: str) -> None:
    asked = store.submit(NewJob("sum", {}, most_tries=1, then=NewJob("tell", {"to": "you"})))
    held = store.claim(["sum"], worker="one", lease_s=LEASE_S)
    assert held is not None
    assert store.count(["tell"], ["queued"]) == 0
    if end == "complete":
        store.complete(held, 3)
    elif end == "fail":
        store.fail(held, {"code": "DL900", "message": "wrong"})
    elif end == "stop":
        store.stop(asked.id)
    else:
        clock.now += LEASE_S + 1
        assert claim(store) is None
    store.stop(asked.id)  # has ended: nothing follows again
    (follower,) = store.list(["tell"])
    assert follower.payload == {"to": "you"} and follower.state == "queued"


def test_old_jobs_are_forgotten_with_their_files_and_files_of_none_a_day_later(store: JobStore, clock: Clock) -> None:
    clock.now = time.time()
    ended, waiting = store.submit(NewJob("sum", {})), store.submit(NewJob("sum", {}))
    for name in (ended.id, waiting.id, "never-queued", "just-now"):
        store.files_of(name).mkdir(parents=True)
        (store.files_of(name) / "rows.csv").write_text("x\n")
    os.utime(store.files_of("never-queued"), (0, 0))
    store.stop(ended.id)
    assert store.forget(["sum"], older_s=60) == 0
    clock.now += 61
    assert store.forget(["sum"], older_s=60) == 1
    assert store.get(ended.id) is None and store.get(waiting.id) is not None
    assert {folder.name for folder in (store.folder / "files").iterdir()} == {waiting.id, "just-now"}


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"this is no database, though it has its name" * 50)
    with pytest.raises(ArtifactError, match="cannot be read or written") as caught:
        JobStore.open(tmp_path)
    assert caught.value.code == "DL320"
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="file"):
        JobStore.open(tmp_path / "file")


@pytest.mark.parametrize(
    "place", ["postgresql://localhost/danlu", "postgresql://localhost?folder=/tmp", "postgresql://h:port/d?folder=/tmp"]
)
def test_a_url_names_a_database_and_a_folder(place: str) -> None:
    with pytest.raises(ArgumentError, match="folder"):
        JobStore.open(place)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "shared")
    url = request.getfixturevalue("postgres")
    return f"{url}?folder={tmp_path}"


WORKER = """
import sys, time
from danlu.artifacts.jobs import JobStore, LostLease
store = JobStore.open(sys.argv[1])
while (job := store.claim(["sum"], worker=sys.argv[2], lease_s=0.5)) is not None or store.count(["sum"], ["running"]):
    if job is None:
        time.sleep(0.05)
        continue
    with open(sys.argv[3], "a") as log:
        log.write(f"{job.id} {job.token}\\n")
    time.sleep(0.01)
    try:
        store.complete(job, {"by": sys.argv[2], "token": job.token})
    except LostLease:
        pass
"""


def test_of_many_workers_some_of_which_are_killed_each_job_has_one_end(place: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:  # also: four make the tables at once
        store = next(iter(pool.map(lambda _: JobStore.open(place), range(4))))
    asked = [store.submit(NewJob("sum", {"number": number}, most_tries=20)).id for number in range(40)]
    log = tmp_path / "claims"
    log.touch()

    def begin(name: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", WORKER, place, name, str(log)])

    workers = [begin(f"w{number}") for number in range(3)]
    for killed in range(2):
        until = time.monotonic() + 60
        while len(log.read_text().splitlines()) < 8 * (killed + 1) and time.monotonic() < until:
            time.sleep(0.01)
        workers[killed].send_signal(signal.SIGKILL)
    workers.append(begin("w3"))
    for worker in workers:
        worker.wait(60)
    ended = store.list(["sum"])
    assert {job.id for job in ended} == {*asked}
    assert {job.state for job in ended} == {"done"}
    claims = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert all(job.result["token"] == job.token for job in ended)  # the latest holder recorded it
    assert sum(claims.values()) - len(asked) <= 2  # only what was killed was begun again
    assert store.claim(["sum"], worker="late", lease_s=1) is None
