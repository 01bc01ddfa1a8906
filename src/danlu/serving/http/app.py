"""All routes but the predict routes, as an ASGI application: probes, metadata, the repository, metrics.

Errors are JSON as those of the predict routes, `{"error": "...", "code": "..."}`, and never a stack trace.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from danlu.core.console import ERROR, emit
from danlu.reporting.i18n import Language
from danlu.serving import openapi, page
from danlu.serving.answering import Served
from danlu.serving.batching import INTERNAL
from danlu.serving.control import Message
from danlu.serving.http.front import Front
from danlu.serving.http.jobs import OWNER, JobRoutes
from danlu.serving.instance import Instance
from danlu.serving.keys import Gate, Key, key_of
from danlu.serving.language.responses import error_body
from danlu.serving.metrics import Table, exposition
from danlu.serving.refusals import Refusal
from danlu.serving.store import Model
from danlu.serving.v2 import metadata

PROBES = ("/v2/health/live", "/v2/health/ready", "/v2/health/startup")
OPENAI = "/v1/"
PREDICTING = ("/predict/", "/infer")
LONGEST_BODY = 65_536  # of a request here, where none holds rows
TOO_LONG_S = 300.0  # loading a model takes the longest
Ask = Callable[[Message], Awaitable[Message]]


@dataclass(frozen=True)
class Site:
    """Hold what the routes show.

    Attributes:
        models: those that are served.
        instances: their versions, by name.
        front: the short routes, which know whether the server is draining.
        gate: lets requests in by their key.
        table: the metrics of all workers.
        ask: sends a question to the supervisor, and waits for its answer.
        jobs: the routes of jobs; None where the server takes none.
    """

    models: Mapping[str, Model]
    instances: Mapping[str, Mapping[str, Instance]]
    front: Front
    gate: Gate
    table: Table
    ask: Ask
    jobs: JobRoutes | None = None

    def model(self, request: Request) -> Model:
        """Return the model that a path names."""
        return self._known(request.path_params["name"])

    def _known(self, name: str) -> Model:
        if name not in self.models:
            raise HTTPException(404, f"no model {name!r} is served here; these are: {', '.join(self.models)}")
        return self.models[name]

    def instance(self, request: Request) -> Instance:
        """Return the version that a path names, or the default."""
        return self.find(request.path_params["name"], request.path_params.get("version"))

    def find(self, name: str, named: str | None) -> Instance:
        """Return a version of a model, or its default.

        Raises:
            HTTPException: 404, there is none.
        """
        model = self._known(name)
        version = model.resolve(named or model.default)
        if version is None:
            raise HTTPException(404, f"model {model.name!r} has no version {named!r} here")
        return self.instances[model.name][version]

    def choose(self, name: str | None, named: str | None, request_id: str) -> Instance:
        """Return the version that answers a request which may name none.

        Raises:
            HTTPException: 400, no model is named and there are several; 404, there is no such one.
        """
        if name is None and len(self.models) > 1:
            raise HTTPException(400, f"say which model: model=NAME; these are served: {', '.join(self.models)}")
        name = next(iter(self.models)) if name is None else name
        return self.find(name, named or self._known(name).version_for(request_id))

    async def live(self, request: Request) -> Response:
        """Say that the process runs."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Say whether requests are taken."""
        is_ready = not self.front.draining
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def server(self, request: Request) -> Response:
        """Describe the server."""
        return JSONResponse(metadata.server_metadata())

    async def describe(self, request: Request) -> Response:
        """Describe a version of a model."""
        instance, model = self.instance(request), self.model(request)
        return _answer(instance, metadata.model_metadata(instance.served, model.name, [*model.versions]))

    async def model_ready(self, request: Request) -> Response:
        """Say whether a version of a model is ready."""
        instance = self.instance(request)
        status = 503 if self.front.draining else 200
        return _answer(instance, {"name": instance.name, "ready": status == 200}, status)

    async def index(self, request: Request) -> Response:
        """List the versions that are served."""
        found = [
            {"name": model.name, "version": version, "state": "READY", "reason": ""}
            for model in self.models.values()
            for version in model.versions
        ]
        return JSONResponse(found)

    async def load(self, request: Request) -> Response:
        """Load a model anew, or another of its versions."""
        return await self._repository(request, "load")

    async def unload(self, request: Request) -> Response:
        """Serve a model no longer."""
        return await self._repository(request, "unload")

    async def _repository(self, request: Request, do: str) -> Response:
        body = await request.body()
        try:
            parameters = json.loads(body or b"{}").get("parameters", {})
        except (ValueError, AttributeError, RecursionError):
            raise HTTPException(400, 'the body is no {"parameters": {...}} in JSON') from None
        answer = await self.ask({"do": do, "name": request.path_params["name"], "parameters": parameters})
        if "error" in answer:
            return _refused(request.url.path, Refusal(answer["status"], answer["error"], answer["code"]))
        return JSONResponse(answer["done"])

    async def metrics(self, request: Request) -> Response:
        """Show the metrics of all workers."""
        text, content_type = exposition(self.table, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    async def openapi(self, request: Request) -> Response:
        """Describe the routes, and the rows that each model takes."""
        return JSONResponse(await asyncio.get_running_loop().run_in_executor(None, self._document))

    def _document(self) -> dict[str, Any]:
        return openapi.document(self._served(), jobs=self.jobs is not None)

    async def drift(self, request: Request) -> Response:
        """Compare what this worker was asked and answered with the training."""
        only = next(iter(self.models)) if len(self.models) == 1 else None
        chosen = request.query_params.get("model", only)
        if chosen is not None:
            return JSONResponse(await self._drift_of(self._known(chosen), request))
        found = {model.name: await self._drift_of(model, request) for model in self.models.values()}
        return JSONResponse({"format": 1, "models": found})

    async def _drift_of(self, model: Model, request: Request) -> dict[str, Any]:
        drift = self.instances[model.name][model.default].drift
        report = await asyncio.get_running_loop().run_in_executor(None, drift.report)
        told = {"model": model.name, "version": model.default, **report}
        return page.drift_in(told, self._language(request))

    async def page(self, request: Request) -> Response:
        """Show the page to try a model by hand."""
        name = request.path_params.get("name")
        if name is not None:
            self._known(name)
        chatting = [known for known, model in self.models.items() if self.front.language.chats(known, model.default)]
        text = page.page(self._served(), name, self._language(request), chatting)
        return HTMLResponse(text, headers=page.HEADERS)

    def _language(self, request: Request) -> Language:
        return page.choose_language(request.query_params.get("lang"), request.headers.get("accept-language", ""))

    def _served(self) -> dict[str, Served]:
        return {name: self.instances[name][model.default].served for name, model in self.models.items()}

    async def language_models(self, request: Request) -> Response:
        """List the models that write texts or give vectors, as OpenAI's API does."""
        return _encoded(self.front.language.listed())

    async def language_model(self, request: Request) -> Response:
        """Describe one of them."""
        card = self.front.language.card(request.path_params["name"])
        if card is None:
            raise HTTPException(404, f"no model {request.path_params['name']!r} writes texts or gives vectors here")
        return _encoded(card)

    async def unserved(self, request: Request) -> Response:
        """Refuse what the predict routes did not take."""
        self.instance(request)  # 404 where the path names nothing
        raise HTTPException(400, "connections are not upgraded here")


def build_app(site: Site) -> ASGIApp:
    """Return the application."""
    versioned = "/v2/models/{name}/versions/{version}"
    routes = [
        Route("/v2", site.server),
        Route("/v2/health/live", site.live),
        Route("/v2/health/startup", site.live),
        Route("/v2/health/ready", site.ready),
        Route("/v2/models/{name}", site.describe),
        Route("/v2/models/{name}/ready", site.model_ready),
        Route(versioned, site.describe),
        Route(versioned + "/ready", site.model_ready),
        Route("/v2/repository/index", site.index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", site.load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", site.unload, methods=["POST"]),
        Route("/metrics", site.metrics),
        Route("/openapi.json", site.openapi),
        Route("/drift", site.drift),
        Route("/v1/models", site.language_models),
        Route("/v1/models/{name:path}", site.language_model),
        Route("/", site.page),
        Route("/models/{name}", site.page),
        *(
            Route(path, site.unserved, methods=["POST"])
            for path in (
                "/predict/{name}",
                "/predict/{name}/versions/{version}",
                "/v2/models/{name}/infer",
                versioned + "/infer",
            )
        ),
    ]
    if site.jobs is not None:
        routes += [
            Route("/jobs", site.jobs.submit, methods=["POST"]),
            Route("/jobs/{id}", site.jobs.describe),
            Route("/jobs/{id}/result", site.jobs.result),
            Route("/jobs/{id}", site.jobs.delete, methods=["DELETE"]),
        ]
    handlers: dict[Any, Any] = {HTTPException: _http_error, Exception: _failure}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Bounded(app, site.gate, 0.0 if site.jobs is None else site.jobs.limits.job_s)


def _answer(instance: Instance, told: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(told, status, headers={"x-danlu-digest": instance.served.digest})


def _encoded(value: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(value), headers={"content-type": "application/json"})


def _refused(path: str, refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal in the form of the path's protocol."""
    body = error_body(refusal) if path.startswith(OPENAI) else refusal.body()
    retry = {} if refusal.retry_s is None else {"retry-after": str(refusal.retry_s)}
    given = {"content-type": "application/json", **retry, **(headers or {})}
    return Response(body, refusal.status, headers=given)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return _refused(request.url.path, Refusal(error.status_code, str(error.detail)), error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    return _refused(request.url.path, INTERNAL)


class Bounded:
    """Keep what the application may be asked within limits: keys, time, and no traces."""

    def __init__(self, app: ASGIApp, gate: Gate, job_s: float) -> None:
        self._app, self._gate, self._job_s = app, gate, job_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refused(scope["path"], refusal)(scope, receive, send)
            return
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._job_s if self._is_job(scope) else TOO_LONG_S):
                await self._app(scope, receive, watched)
        except Exception as error:  # Starlette has answered, and raises it again for whoever logs
            emit(f"{scope['method']} {scope['path']}: {type(error).__name__}: {error}", ERROR)
            if not started:
                response = await _failure(Request(scope), error)
                await response(scope, receive, send)

    def _is_job(self, scope: Scope) -> bool:
        return self._job_s > 0 and (scope["path"] + "/").startswith("/jobs/")

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        length = dict(headers).get(b"content-length", b"0")
        predicting = scope["path"].startswith(PREDICTING[0]) or scope["path"].endswith(PREDICTING[1])
        if length.isdigit() and int(length) > LONGEST_BODY and not predicting and not self._is_job(scope):
            return Refusal(413, f"the body is larger than {LONGEST_BODY:,} bytes")
        origin, host = dict(headers).get(b"origin"), dict(headers).get(b"host", b"")
        if scope["method"] != "GET" and origin is not None and origin.partition(b"://")[2] != host:
            return Refusal(403, "pages of other sites may not change what is served here")
        if self._gate.is_open or scope["path"] in PROBES:
            return None
        entered = self._gate.enter(key_of(headers))
        if isinstance(entered, Key):
            scope[OWNER] = entered.name
        return entered if isinstance(entered, Refusal) else None
