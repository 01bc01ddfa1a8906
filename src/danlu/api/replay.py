"""`danlu replay`: answer a server's log again, by the same bundle or by a candidate."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import Bundle, digest_of
from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked
from danlu.core.imports import require_extra
from danlu.errors import ArgumentError, DataError
from danlu.models.bundle_form import open_checked

if TYPE_CHECKING:
    from danlu.serving.request_log import LogLine


@dataclass(frozen=True)
class Replay:
    """Hold how a bundle's answers compare with those of a log.

    Attributes:
        requests: that were answered again.
        equal: of these, answered the same: byte by byte where batch, bundle, engine and threads are those of the log,
            else within 1e-5.
        exact: requests that could be held to bytes.
        max_deviation: of any number, relative where it is above 1.
        labels_changed: rows whose prediction is another label.
        differences: `id`, `was` and `is` of each request that is answered otherwise.
        same_digest: whether some of the log came from this very bundle.
        skipped: requests of language models, which are not asked again.
    """

    requests: int
    equal: int
    exact: int
    max_deviation: float
    labels_changed: int
    differences: list[dict[str, Any]]
    same_digest: bool
    skipped: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether this very bundle answers as it did; True of a candidate, which may differ."""
        return not self.same_digest or not self.differences

    def to_json(self) -> dict[str, Any]:
        """Return the document of `danlu replay --json`."""
        return {
            "requests": self.requests,
            "equal": self.equal,
            "exact": self.exact,
            "max_deviation": self.max_deviation,
            "labels_changed": self.labels_changed,
            "differences": self.differences,
            "skipped": self.skipped,
        }


@checked
def replay(
    log: StrPath,
    bundle: StrPath,
    *,
    model: str | None = None,
    engine: str | None = None,
    own_code: bool = False,
) -> Replay:
    """Answer the requests of a server's log again, batch by batch.

    Requests of language models are skipped, and counted: which texts ran beside one another changed at each token.
    Where the log has requests that this bundle answered, these are replayed, with the engine and threads of then; else
    those of one model, which the bundle would replace.

    Args:
        log: the file of `danlu serve --log`.
        bundle: a bundle or a run.
        model: whose requests are replayed, as `wine` or `wine/3`; needed where the log has several.
        engine: what computes the network; by default that of the log, or the bundle's own order for a candidate.
        own_code: import the module that the bundle names, if its model is your own.

    Raises:
        ArgumentError: the log has no such model, or several.
        ArtifactError: the bundle is damaged or no longer reproduces its golden samples.
        DataError: the log cannot be read, or has no requests.
        MissingExtra: the extra `serve` is not installed.

    Example:
        >>> import json, urllib.request, danlu
        >>> row = {name: 1.0 for name in danlu.load("runs/wine").preprocessor.columns}
        >>> with danlu.serve("runs/wine", engine="numpy", log="requests.jsonl") as server:
        ...     asked = json.dumps({"rows": [row]}).encode()
        ...     answer = urllib.request.urlopen(f"{server.url}/predict/wine", asked).read()
        >>> danlu.replay("requests.jsonl", "runs/wine").equal
        1
    """
    require_extra("serve", "danlu replay")
    from danlu.serving.answering import Served
    from danlu.serving.replaying import Comparison, batches_of, replay_batch
    from danlu.serving.request_log import read_log

    opened = open_checked(bundle)
    logged = list(read_log(Path(log)))
    lines = [line for line in logged if not line.route]
    if not lines:
        only = "only requests of language models, which are not asked again" if logged else "no requests"
        raise DataError(f"{log}: has {only}", code="DL203")
    digest = digest_of(opened.manifest)
    same = any(line.digest == digest for line in lines)
    chosen = _chosen(lines, model, digest if same else None, str(log))
    compared = Comparison()
    served: dict[str | None, Served] = {}
    for batch in batches_of(chosen):
        wanted = engine or (batch[0].engine if same else None)
        if wanted not in served:
            served[wanted] = _open(opened, wanted, own_code)
        with computing_threads(batch[0].threads):
            replay_batch(served[wanted], batch, compared)
    return Replay(
        compared.requests,
        compared.equal,
        compared.exact,
        compared.max_deviation,
        compared.labels_changed,
        compared.differences,
        same,
        len(logged) - len(lines),
    )


def _open(bundle: Bundle, engine: str | None, own_code: bool) -> Any:
    from danlu.serving.answering import Served

    return Served.open(bundle, engine=engine, own_code=own_code)


def _chosen(lines: list["LogLine"], model: str | None, digest: str | None, log: str) -> list["LogLine"]:
    """Return the requests to replay."""
    if model is not None:
        lines = [line for line in lines if model in (line.model, line.model.rpartition("/")[0])]
        if not lines:
            raise ArgumentError(f"model: {log} has no requests of {model!r}", code="DL402")
    if digest is not None:
        return [line for line in lines if line.digest == digest]
    names = sorted({line.model.rpartition("/")[0] for line in lines})
    if len(names) > 1:
        raise ArgumentError(
            f"{log} has requests of {', '.join(names)}, none answered by this bundle; say which with --model",
            code="DL401",
        )
    return lines


@contextmanager
def computing_threads(threads: int) -> Iterator[None]:
    """Compute by so many threads within the block: sums are rounded by their parts."""
    import sys

    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    with threadpool_limits(threads):
        if torch is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            if torch is not None and before is not None:
                torch.set_num_threads(before)
