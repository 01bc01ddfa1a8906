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
    certificate: StrPath | None = None,
    private_key: StrPath | None = None,
    own_code: bool = False,
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
        certificate, private_key: files for TLS, in PEM.
        own_code: import the modules that bundles name.

    Returns:
        the server: `url` says where it listens, `stop()` ends it; so does the end of a `with` block.

    Raises:
        ArgumentError: a source, the address, the keys or the engine cannot be used.
        ArtifactError: a bundle is damaged, or no longer answers its golden samples as recorded.
        MissingExtra: the extra `serve`, or for gRPC `grpc`, is not installed.

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
        "--certificate": certificate,
        "--private-key": private_key,
    }
    arguments += [word for name, value in options.items() if value is not None for word in (name, str(value))]
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
    certificate: Path | None,
    private_key: Path | None,
    own_code: bool,
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
    from danlu.serving.keys import read_keys
    from danlu.serving.server import Options
    from danlu.serving.store import find_models
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
    if (certificate is None) != (private_key is None):
        raise ArgumentError("TLS needs both files: --certificate and --private-key", code="DL401")
    for name, file in (("--certificate", certificate), ("--private-key", private_key)):
        if file is not None and not file.is_file():
            raise ArgumentError(f"{name}: {file}: no such file", code="DL402")
    models = find_models(sources)
    known = () if keys is None else read_keys(keys)
    options = Options(
        keys=known,
        certificate=certificate,
        private_key=private_key,
        workers=workers,
        log=log,
        text_engine=text_engine,
    )
    if host not in LOOPBACK and not known:
        info(f"danlu serve: {host} can be reached by others, and without --keys everybody is answered")
    return Supervisor(models, options, engine, own_code, announce or _log).run(host, port, grpc_port)


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
