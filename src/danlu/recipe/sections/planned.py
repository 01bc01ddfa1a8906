"""Sections that the recipe already has and danlu does not implement yet.

Their options are typed, so a recipe that uses them is checked like any other; then it is refused with one sentence that
says so. Whoever builds a part takes its line out of BUILT and moves its table to the folder that does the work.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from danlu.core.component import Frozen


class Server(Frozen):
    """Configure the HTTP server's batching."""

    max_batch: PositiveInt = 64
    max_delay_ms: NonNegativeFloat = 2.0


class Autoscale(Frozen):
    """Limit how many replicas Kubernetes may run."""

    min: PositiveInt = 1
    max: PositiveInt = 10


class Kubernetes(Frozen):
    """Configure the Kubernetes manifests."""

    replicas: NonNegativeInt = 1
    autoscale: Autoscale | None = None


class Deployment(Frozen):
    """Configure how the bundle is served."""

    server: Server = Server()
    container: bool = False
    kubernetes: Kubernetes | None = None


# Values that each key accepts today; a key that is not here is fully implemented.
BUILT: dict[str, tuple[Any, ...]] = {
    "deployment": (None,),
}


def not_built(recipe: Frozen) -> Iterator[tuple[str, str]]:
    """Return the keys of a valid recipe that are not implemented, each with its error."""
    for key, built in BUILT.items():
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part, None)
        if value is None or value in built:
            continue
        usable = [str(choice) for choice in built if choice not in (None, ())]
        cure = f"use {' or '.join(usable)}, or leave it out" if usable else "leave it out"
        asked = getattr(value, "name", value) if not isinstance(value, Frozen | tuple) else key.rsplit(".", 1)[-1]
        yield key, f"{asked} is not built yet in this version of danlu; {cure}"
