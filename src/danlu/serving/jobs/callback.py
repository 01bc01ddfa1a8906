"""Tell whoever asked that a job has ended: one POST of its description, which follows no redirect."""

import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from danlu.artifacts.jobs import Job, JobStore, LostLease
from danlu.serving.jobs.job import described

CALL_S = 10.0
FIRST_WAIT_S = 2.0  # before another try; each next one waits twice as long


def call_back(store: JobStore, call: Job) -> None:
    """Send a job's description to its URL, and record how that ended."""
    job = store.get(str(call.payload["job"]))
    try:
        if job is None:
            store.complete(call, {"status": None})
            return
        status = _post(str(call.payload["url"]), described(job))
        if 200 <= status < 300:
            store.complete(call, {"status": status})
            return
        reason = f"answered {status}"
    except LostLease:
        return
    except (OSError, HTTPException, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    told = {"code": "", "message": f"{call.payload['url']}: {reason}"}
    try:
        store.fail(call, told, again_s=FIRST_WAIT_S * 2 ** (call.tries - 1))
    except LostLease:
        return


def _post(url: str, told: dict[str, Any]) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None, "whoever submitted the job was asked for one"
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    link = kind(parts.hostname, parts.port, timeout=CALL_S)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = json.dumps(told, ensure_ascii=False).encode()
        link.request("POST", target, body, {"content-type": "application/json", "user-agent": "danlu"})
        return link.getresponse().status
    finally:
        link.close()
