"""`danlu serve`: answer requests over HTTP from bundles, until a signal stops it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.core.imports import require_extra
from danlu.errors import ArgumentError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EXTRA = "serve"


@checked
def serve(
    sources: StrPath | Sequence[StrPath],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    workers: int = 1,
    engine: str = "auto",
    keys: StrPath | None = None,
    certificate: StrPath | None = None,
    private_key: StrPath | None = None,
    own_code: bool = False,
    announce: Any = None,
) -> int:
    """Serve bundles over HTTP until SIGTERM or SIGINT.

    Args:
        sources: one or several bundles, runs, `NAME=BUNDLE`, or folders of `NAME/VERSION/` bundles.
        host: the address to listen at.
        port: 0 for a free one.
        workers: processes that answer; they share the models' memory.
        engine: `auto` measures once which is fastest, or the name of one.
        keys: a file of API keys' hashes; without it everybody is answered.
        certificate, private_key: files for TLS, in PEM.
        own_code: import the modules that bundles name.
        announce: is called with each event as a dict, `ready` first; by default a line is logged.

    Returns:
        0 once every request is answered.

    Raises:
        ArgumentError: a source, the address, the keys or the engine cannot be used.
        ArtifactError: a bundle is damaged, or no longer answers its golden samples as recorded.
        MissingExtra: the extra `serve` is not installed.
    """
    require_extra(EXTRA, "danlu serve")
    from danlu.serving.keys import read_keys
    from danlu.serving.server import Options
    from danlu.serving.store import find_models
    from danlu.serving.workers import Supervisor

    if not 1 <= workers <= MOST_WORKERS:
        raise ArgumentError(f"workers: {workers} is not between 1 and {MOST_WORKERS}", code="DL402")
    if (certificate is None) != (private_key is None):
        raise ArgumentError("TLS needs both files: --certificate and --private-key", code="DL401")
    for name, file in (("--certificate", certificate), ("--private-key", private_key)):
        if file is not None and not Path(file).is_file():
            raise ArgumentError(f"{name}: {file}: no such file", code="DL402")
    models = find_models([str(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)])
    options = Options(
        keys=read_keys(Path(keys)) if keys is not None else (),
        certificate=Path(certificate) if certificate is not None else None,
        private_key=Path(private_key) if private_key is not None else None,
        workers=workers,
    )
    if host not in LOOPBACK and not options.keys:
        info(f"danlu serve: {host} can be reached by others, and without --keys everybody is answered")
    return Supervisor(models, options, engine, own_code, announce or _log).run(host, port)


MOST_WORKERS = 16


def _log(event: dict[str, Any]) -> None:
    """Log an event as a line for people."""
    models: Sequence[dict[str, str]] = event.get("models", ())
    named = ", ".join(f"{model['name']} {model['version']} ({model['engine']})" for model in models)
    info(" ".join(word for word in ("danlu serve:", event["event"], event.get("url", ""), named) if word))
