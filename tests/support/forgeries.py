"""Bundles of a forger: a field of the manifest is changed, and every checksum is made anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.artifacts.files import sha256_of_json

ODD: tuple[Any, ...] = (None, -1, 0, 1e308, "", "x", [], {}, [[]], True, {"a": 1}, 10**30)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON; of lists the first two."""
    if place:
        yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*place, key))


def fields(manifest: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The places that a forger can change, all but the checksums."""
    return [place for place in places(manifest) if place[0] not in ("digest", "files")]


def forge(file: Path, manifest: dict[str, Any], place: tuple[Any, ...], value: Any, takes_out: bool) -> None:
    """Write a manifest with one field changed or taken out, and its digest made anew."""
    changed = json.loads(json.dumps(manifest))
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    if takes_out:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    changed["digest"] = sha256_of_json({key: kept for key, kept in changed.items() if key != "digest"})
    file.write_text(json.dumps(changed), encoding="utf-8")
