"""What kills leave of jobs: files to predict are submitted while the server and its worker of jobs are killed.

    OMP_NUM_THREADS=1 python benchmarks/jobs.py                       # 200 jobs, 20 times kill -9
    OMP_NUM_THREADS=1 python benchmarks/jobs.py --jobs 40 --kills 4

Kills fall at moments drawn from a seed; each third one takes the whole server, all its processes at once, which is then
started again on the same folder, the others the process that does the jobs. Each job's file has rows of its own. At the
end every job that was accepted must be done, its answers equal to those of `danlu predict` to the byte, its end
recorded once (a trigger in the database counts), and nothing half-written may lie beside them. Ends with 1 otherwise.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import polars as pl
from tests.support.serving import Server, serving

ROWS = 20_000  # of a file: a job takes some tenths of a second
WAITING = 8  # jobs at a time, so that kills find some to the end
COUNTED = """
CREATE TABLE IF NOT EXISTS ends (id TEXT);
CREATE TRIGGER IF NOT EXISTS counted AFTER UPDATE OF state ON danlu_jobs_1
WHEN new.state NOT IN ('queued', 'running') BEGIN INSERT INTO ends VALUES (new.id); END;
"""


def rows_of(number: int) -> pl.DataFrame:
    """Rows that no other job has, in an order of its own."""
    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:breast-cancer").frame.lazy().collect().drop("diagnosis")
    return frame.sample(ROWS, with_replacement=True, seed=number)


def worker_of(folder: Path) -> int | None:
    """The process that holds a job now."""
    with suppress(sqlite3.OperationalError), sqlite3.connect(folder / "jobs.sqlite") as kept:
        found = kept.execute("SELECT worker FROM danlu_jobs_1 WHERE state = 'running'").fetchone()
        return int(found[0].rpartition(":")[2]) if found else None
    return None


def processes_of(pid: int) -> list[int]:
    """A process and all that it began."""
    below = Path(f"/proc/{pid}/task/{pid}/children")
    children = below.read_text().split() if below.exists() else []
    return [pid, *(each for child in children for each in processes_of(int(child)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    import danlu

    draw = random.Random(chosen.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        recipe = {"data": {"source": "builtin:breast-cancer"}, "model": "linear", "training": {"max_steps": 20}}
        bundle = danlu.train(recipe, output=root, name="tumour").path / "model"
        files = [rows_of(number).write_csv().encode() for number in range(chosen.jobs)]
        folder, accepted, kills = root / "jobs", dict[str, int](), Counter[str]()
        began = time.monotonic()
        while True:
            with serving(f"tumour={bundle}", "--engine", "numpy", "--jobs", str(folder)) as server:
                with sqlite3.connect(folder / "jobs.sqlite") as kept:
                    kept.executescript(COUNTED)
                if run_until_killed(server, folder, files, accepted, kills, chosen.kills, draw):
                    break
        seconds = time.monotonic() - began
        killed = f"{kills['server']} kills of the server, {kills['worker']} of the worker"
        print(f"{len(accepted)} jobs, {killed}, {seconds:.0f} s")
        faults = faults_of(folder, bundle, files, accepted, root)
    print(json.dumps(faults))
    sys.exit(1 if any(faults[name] for name in ("lost", "ended twice", "other answers", "half-written")) else 0)


def run_until_killed(
    server: Server, folder: Path, files: list[bytes], accepted: dict[str, int], kills: Counter[str], most: int,
    draw: random.Random,
) -> bool:  # fmt: skip
    """Submit jobs and kill; whether all is done."""
    share = len(files) / (most + 1)  # jobs between two kills
    while True:
        done = ended_of(folder)
        if len(accepted) < min(len(files), done + WAITING):
            answer = server.post("/jobs", files[len(accepted)], {"content-type": "text/csv"})
            if answer.status != 202:
                sys.exit(f"refused: {answer.body!r}")
            accepted[answer.json["id"]] = len(accepted)
            continue
        if done == len(files):
            return True
        killed = kills.total()
        if killed >= most or done < share * (killed + 1) - WAITING / 2:
            time.sleep(0.02)
        else:
            time.sleep(0.3 * draw.random())
            if killed % 3 == 2:
                for pid in processes_of(server.process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                server.process.wait()
                kills["server"] += 1
                return False
            worker = worker_of(folder)
            if worker is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                    kills["worker"] += 1


def ended_of(folder: Path) -> int:
    with sqlite3.connect(folder / "jobs.sqlite", timeout=60) as kept:
        ended = "SELECT count(*) FROM danlu_jobs_1 WHERE state NOT IN ('queued', 'running')"
        return int(kept.execute(ended).fetchone()[0])


def faults_of(
    folder: Path, bundle: Path, files: list[bytes], accepted: dict[str, int], root: Path
) -> dict[str, int]:  # fmt: skip
    """Count what went wrong."""
    import danlu

    with sqlite3.connect(folder / "jobs.sqlite") as kept:
        jobs = dict(kept.execute("SELECT id, result FROM danlu_jobs_1 WHERE state = 'done'").fetchall())
        tries = dict(kept.execute("SELECT id, tries FROM danlu_jobs_1").fetchall())
        ends = Counter(row[0] for row in kept.execute("SELECT id FROM ends"))
    found = {"lost": len(accepted.keys() - jobs.keys()), "ended twice": sum(count > 1 for count in ends.values())}
    found |= {"other answers": 0, "half-written": 0, "begun again": sum(count - 1 for count in tries.values())}
    for job_id, number in accepted.items():
        if job_id not in jobs:
            continue
        place = folder / "files" / job_id
        name = json.loads(jobs[job_id])["file"]
        (root / "rows.csv").write_bytes(files[number])
        danlu.predict(bundle, root / "rows.csv", output=root / "answers.csv", engine="numpy", overwrite=True)
        found["other answers"] += (place / name).read_bytes() != (root / "answers.csv").read_bytes()
        found["half-written"] += any(file.name != name and file.suffix == ".partial" for file in place.iterdir())
    return found


if __name__ == "__main__":
    main()
