"""`danlu serve`: answer requests over HTTP from bundles, until a signal stops it."""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.core.imports import require_extra
from danlu.errors import ArgumentError, MissingExtra

if TYPE_CHECKING:
    from danlu.serving.process import Server

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EXTRA = "serve"
MOST_WORKERS = 16
TEXT_ENGINES = ("danlu", "vllm")


@checked
def serve(
    sources: StrPath | Sequence[StrPath],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    grpc_port: int | None = None,
    workers: int = 1,
    engine: str = "auto",
    text_engine: str = "danlu",
    keys: StrPath | None = None,
    log: StrPath | None = None,
    traces: str | None = None,
    certificate: StrPath | None = None,
    private_key: StrPath | None = None,
    trusted: StrPath | Sequence[StrPath] = (),
    own_code: bool = False,
    jobs: StrPath | None = None,
    callbacks: Sequence[str] = (),
) -> "Server":
    """Start a server of bundles in a process of its own; ready on return.

    Args:
        sources: one or several bundles, runs, `NAME=BUNDLE`, or folders of `NAME/VERSION/` bundles.
        host: the address to listen at.
        port: 0 for a free one.
        grpc_port: for the Open Inference Protocol over gRPC, 0 for a free one; without it only HTTP is spoken.
        workers: processes that answer; they share the models' memory.
        engine: `auto` measures once which is fastest, or the name of one.
        text_engine: what writes the texts of language models: `danlu`, or `vllm` where it is installed.
        keys: a file of API keys' hashes; without it everybody is answered.
        log: a file that gets a line for each answered request, which `danlu replay` reads.
        traces: the URL of a collector of OpenTelemetry, which gets a span for each request and stage, by OTLP over
            HTTP.
        certificate, private_key: files for TLS, in PEM.
        trusted: files of public keys, one of which has to have signed each bundle (`danlu.sign`); none for any bundle.
        own_code: import the modules that bundles name.
        jobs: a folder that keeps files to be predicted later and their answers, `POST /jobs`, or
            `postgresql://USER@HOST/DATABASE?folder=FOLDER`; without it no files are taken.
        callbacks: beginnings of URLs which may be told of a job's end; by default none.

    Returns:
        the server: `url` says where it listens, `stop()` ends it; so does the end of a `with` block.

    Raises:
        ArgumentError: a source, the address, the keys or the engine cannot be used.
        ArtifactError: a bundle is damaged, or no longer answers its golden samples as recorded.
        MissingExtra: the extra `serve`, or `grpc` for gRPC, or `otel` for traces, is not installed.

    Example:
        >>> import danlu
        >>> with danlu.serve("runs/wine", engine="numpy") as server:
        ...     [model["name"] for model in server.models]
        ['wine']
    """
    require_extra(EXTRA, "danlu serve")
    from danlu.serving.process import Server

    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    arguments = [str(source) for source in given]
    options = {
        "--host": host,
        "--port": port,
        "--grpc-port": grpc_port,
        "--workers": workers,
        "--engine": engine,
        "--text-engine": text_engine,
        "--keys": keys,
        "--log": log,
        "--traces": traces,
        "--certificate": certificate,
        "--private-key": private_key,
        "--jobs": jobs,
    }
    arguments += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    arguments += [word for url in callbacks for word in ("--callback", url)]
    keys_given = [trusted] if isinstance(trusted, str | os.PathLike) else trusted
    arguments += [word for file in keys_given for word in ("--trusted", str(file))]
    for word in arguments:
        if "\0" in word:
            raise ArgumentError(f"{word!r}: a zero byte cannot be handed to a process", code="DL402")
    return Server([*arguments, *(["--own-code"] if own_code else [])])


def run_server(
    sources: Sequence[str],
    *,
    host: str,
    port: int,
    grpc_port: int | None,
    workers: int,
    engine: str,
    text_engine: str,
    keys: Path | None,
    log: Path | None,
    traces: str | None,
    certificate: Path | None,
    private_key: Path | None,
    trusted: Sequence[Path],
    own_code: bool,
    jobs: str | None,
    callbacks: Sequence[str],
    announce: Callable[[dict[str, Any]], None] | None,
) -> int:
    """Serve in this process until a signal, and return the exit code.

    It must be a fresh one: nothing in it has computed yet.

    Args:
        announce: is called with each event, `ready` first; by default a line is logged.

    Raises:
        ArgumentError, ArtifactError, MissingExtra: as `serve`.
    """
    require_extra(EXTRA, "danlu serve")
    from danlu.artifacts.signatures import read_public_key
    from danlu.serving.keys import read_keys
    from danlu.serving.server import Options
    from danlu.serving.store import find_models
    from danlu.serving.tracing import check_endpoint
    from danlu.serving.workers import Supervisor

    if not hasattr(os, "fork"):
        raise ArgumentError("danlu serve: workers are forks, which this system does not have; use Linux", code="DL402")
    if not 1 <= workers <= MOST_WORKERS:
        raise ArgumentError(f"--workers: {workers} is not between 1 and {MOST_WORKERS}", code="DL402")
    for name, number in (("--port", port), ("--grpc-port", grpc_port)):
        if number is not None and not 0 <= number < 2**16:
            raise ArgumentError(f"{name}: {number} is no port", code="DL402")
    _require_text_engine(text_engine)
    if grpc_port is not None:
        require_extra("grpc", "danlu serve --grpc-port")
    if traces is not None:
        require_extra("otel", "danlu serve --traces")
        check_endpoint("--traces", traces)
    _check_tls(certificate, private_key)
    _require_jobs(jobs, callbacks)
    models = find_models(sources)
    known = () if keys is None else read_keys(keys)
    options = Options(
        keys=known,
        certificate=certificate,
        private_key=private_key,
        log=log,
        traces=traces,
        workers=workers,
        jobs=jobs,
        callbacks=tuple(callbacks),
        own_code=own_code,
        trusted=tuple(map(read_public_key, trusted)),
        text_engine=text_engine,
    )
    if host not in LOOPBACK and not known:
        info(f"danlu serve: {host} can be reached by others, and without --keys everybody is answered")
    return Supervisor(models, options, engine, own_code, announce or _log).run(host, port, grpc_port)


def _check_tls(certificate: Path | None, private_key: Path | None) -> None:
    if (certificate is None) != (private_key is None):
        raise ArgumentError("TLS needs both files: --certificate and --private-key", code="DL401")
    for name, file in (("--certificate", certificate), ("--private-key", private_key)):
        if file is not None and not file.is_file():
            raise ArgumentError(f"{name}: {file}: no such file", code="DL402")


def _require_jobs(place: str | None, callbacks: Sequence[str]) -> None:
    """Raise an error unless the store of jobs can be used, and callbacks are URLs."""
    from danlu.artifacts.jobs import JobStore
    from danlu.serving.jobs.job import is_callback

    if place is None and callbacks:
        raise ArgumentError("--callback tells of jobs, which need --jobs FOLDER", code="DL401")
    for url in callbacks:
        if not is_callback(url):
            raise ArgumentError(f"--callback: {url!r} is no URL of http or https, as https://host/path", code="DL402")
    if place is not None:
        JobStore.open(place)


def _require_text_engine(name: str) -> None:
    """Raise unless what is to write texts is known and installed."""
    if name not in TEXT_ENGINES:
        raise ArgumentError(f"--text-engine: {name!r} is neither {' nor '.join(TEXT_ENGINES)}", code="DL402")
    if name == "vllm" and find_spec("vllm") is None:
        raise MissingExtra("--text-engine vllm needs vllm, which is not installed here: pip install vllm", code="DL701")


def _log(event: dict[str, Any]) -> None:
    """Log an event as a line for people."""
    models: Sequence[dict[str, str]] = event.get("models", ())
    named = ", ".join(f"{model['name']} {model['version']} ({model['engine']})" for model in models)
    words = ("danlu serve:", event["event"], event.get("url"), event.get("grpc"), named)
    info(" ".join(word for word in words if word))
