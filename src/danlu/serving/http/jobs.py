"""The routes of jobs: a file in, an id out; its state, its answers, its end.

`POST /jobs` with the file as body or as a form, `GET /jobs/ID`, `GET /jobs/ID/result`, `DELETE /jobs/ID`. With keys, a
job exists for the key alone that submitted it. What a client sends is streamed to the disk, never held.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response

from danlu.artifacts.jobs import Job, JobStore
from danlu.core.component import first_fault
from danlu.serving.instance import Instance
from danlu.serving.jobs.job import (
    INPUT,
    PREDICT,
    SUFFIXES,
    TYPES,
    CallbackList,
    FileToPredict,
    described,
    form_of,
    is_callback,
)
from danlu.serving.limits import Limits
from danlu.serving.refusals import overloaded

T = TypeVar("T")
OWNER = "danlu.key"  # in the scope of a request: the name of the key it showed
FIELDS = ("model", "version", "output", "broken", "callback")
MOST_FIELDS, LONGEST_FIELD = 16, 4096
BLOCK = 1 << 20  # bytes
FORM = "multipart/form-data"


@dataclass(frozen=True)
class JobRoutes:
    """Answer the routes of jobs.

    Attributes:
        store: that keeps them.
        callbacks: where they may be told of.
        limits: of files and of how many wait.
        own_code: whether code that bundles name may run.
        choose: the version of a model that answers a request id; raises 404 where there is none.
        is_draining: whether the server takes nothing new.
    """

    store: JobStore
    callbacks: CallbackList
    limits: Limits
    own_code: bool
    choose: Callable[[str | None, str | None, str], Instance]
    is_draining: Callable[[], bool]

    async def submit(self, request: Request) -> Response:
        """Take a file, and queue its job."""
        if self.is_draining():
            raise HTTPException(503, "the server is stopping", {"retry-after": "5"})
        if await _aside(self.store.count, [PREDICT], ["queued"]) >= self.limits.waiting_jobs:
            refusal = overloaded(f"{self.limits.waiting_jobs:,} jobs wait already", 60.0)
            raise HTTPException(refusal.status, refusal.message, {"retry-after": str(refusal.retry_s)})
        job_id = uuid4().hex
        folder = self.store.files_of(job_id)
        self._require_room(request)
        kept = False
        try:
            folder.mkdir(parents=True)
            job = await self._submit(request, job_id, folder)
            kept = True
        except ClientDisconnect:
            raise HTTPException(400, "the file did not arrive whole") from None
        except OSError as error:
            raise HTTPException(507, f"the file cannot be kept: {error.strerror}") from None
        finally:
            if not kept:
                await _aside(shutil.rmtree, folder, True)
        headers = {"location": f"/jobs/{job.id}", "x-danlu-digest": job.payload["digest"]}
        return JSONResponse(described(job), 202, headers=headers)

    def _require_room(self, request: Request) -> None:
        length = request.headers.get("content-length", "0")
        size = int(length) if length.isdigit() else 0
        if size > self.limits.job_bytes:
            raise HTTPException(413, f"the file is larger than {self.limits.job_bytes:,} bytes")
        if shutil.disk_usage(self.store.folder).free < size + self.limits.spare_bytes:
            raise HTTPException(507, "there is no room for the file; try again later", {"retry-after": "60"})

    async def _submit(self, request: Request, job_id: str, folder: Path) -> Job:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "files are taken as they are, without content-encoding")
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == FORM:
            return await self._submit_form(request, job_id, folder)
        asked = self._asked(request.query_params, TYPES.get(content_type, ""), request, job_id)
        with (folder / f"{INPUT}{asked.suffix}").open("wb") as file:
            size = 0
            async for block in request.stream():
                size += len(block)
                file.write(block)
            file.flush()
            await _aside(os.fsync, file.fileno())
        return await self._queue(asked, job_id, size, request.query_params.get("callback"))

    async def _submit_form(self, request: Request, job_id: str, folder: Path) -> Job:
        try:
            form = await request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD)
        except (MultiPartException, HTTPException) as error:
            told = getattr(error, "message", None) or getattr(error, "detail", "cannot be read")
            raise HTTPException(400, f"the form: {told}") from None
        try:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if len(files) != 1:
                raise HTTPException(400, "the form has no file: send one, and beside it the field model")
            (sent,) = files
            fields = {**request.query_params, **{name: value for name, value in form.items() if isinstance(value, str)}}
            suffix = Path(sent.filename or "").suffix.lower()
            if suffix not in SUFFIXES:
                suffix = TYPES.get((sent.content_type or "").lower(), suffix)
            asked = self._asked(fields, suffix, request, job_id)
            with (folder / f"{INPUT}{asked.suffix}").open("wb") as file:
                await _aside(shutil.copyfileobj, sent.file, file, BLOCK)
                size = file.tell()
                file.flush()
                await _aside(os.fsync, file.fileno())
        finally:
            await form.close()
        return await self._queue(asked, job_id, size, fields.get("callback"))

    async def _queue(self, asked: FileToPredict, job_id: str, size: int, callback: str | None) -> Job:
        if not size:
            raise HTTPException(400, "the file is empty")
        return await _aside(self.store.submit, asked.new_job(job_id, callback))

    def _asked(self, fields: Mapping[str, str], suffix: str, request: Request, job_id: str) -> FileToPredict:
        """Return what a request asks for.

        Raises:
            HTTPException: it cannot be done.
        """
        if unknown := [name for name in fields if name not in FIELDS]:
            raise HTTPException(400, f"{unknown[0]!r} is no field of a job; these are: {', '.join(FIELDS)}")
        if suffix not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            raise HTTPException(415, f"a file of {suffix or 'this content type'} is not taken; these are: {known}")
        callback = fields.get("callback")
        if callback is not None and not is_callback(callback):
            raise HTTPException(400, "callback: give a URL of http or https")
        if callback is not None and not self.callbacks.allows(callback):
            raise HTTPException(403, "callback: this server was not started with an allowed list that holds this URL")
        instance = self.choose(fields.get("model"), fields.get("version"), job_id)
        served = instance.served
        try:
            return FileToPredict(
                model=instance.name,
                version=instance.version,
                folder=served.predictor.bundle.folder.resolve(),
                digest=served.digest,
                engine=served.predictor.engine.name,
                own_code=self.own_code,
                suffix=suffix,
                output=fields.get("output", form_of(suffix)),
                broken=fields.get("broken", "row"),
                owner=request.scope.get(OWNER, ""),
            )
        except ValidationError as error:
            raise HTTPException(400, first_fault(error)) from None

    async def describe(self, request: Request) -> Response:
        """Say how far a job is."""
        job = await self._job(request)
        return JSONResponse(described(job), headers={"x-danlu-digest": job.payload["digest"]})

    async def result(self, request: Request) -> Response:
        """Send the answers."""
        job = await self._job(request)
        if job.state != "done":
            raise HTTPException(409, f"the job is {job.state}; it has no answers")
        file = self.store.files_of(job.id) / job.result["file"]
        if not file.is_file():
            raise HTTPException(410, "the answers are gone from the disk; submit the file again")
        headers = {"x-danlu-digest": job.payload["digest"]}
        return FileResponse(file, media_type=SUFFIXES[file.suffix], filename=file.name, headers=headers)

    async def delete(self, request: Request) -> Response:
        """Stop a job; one that has ended is forgotten, with its files."""
        job = await self._job(request)
        if job.has_ended:
            await _aside(self.store.remove, job.id)
            return JSONResponse(described(job))
        stopped = await _aside(self.store.stop, job.id)
        return JSONResponse(described(stopped or job))

    async def _job(self, request: Request) -> Job:
        """Return the job that a path names, if whoever asks may know of it."""
        job = await _aside(self.store.get, request.path_params["id"], [PREDICT])
        if job is None or FileToPredict.of(job).owner != request.scope.get(OWNER, ""):
            raise HTTPException(404, "there is no such job here")
        return job


async def _aside(function: Callable[..., T], *arguments: Any) -> T:
    """Run what waits for a disk or a database in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
