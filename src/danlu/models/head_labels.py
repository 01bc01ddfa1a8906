"""A pretrained head's rows in the order of the data's labels, where its names are theirs; for texts and images."""

from collections.abc import Mapping, Sequence

from danlu.core.console import info

NAMES_SHOWN = 4


def rows_of_labels(labels: Sequence[str] | None, named: Sequence[str]) -> list[int] | None:
    """Return the place of each label among a head's names; None unless all are there.

    Names are compared as they are written, else without regard to case and surrounding blanks.

    Args:
        labels: of the data, by output; None for a number.
        named: what the head's rows stand for.
    """
    if not labels:
        return None
    for form in (str, lambda name: str(name).strip().casefold()):
        wanted, known = [form(label) for label in labels], [form(name) for name in named]
        places = {name: place for place, name in enumerate(known)}
        if len(places) == len(known) and len(set(wanted)) == len(wanted) and set(wanted) <= places.keys():
            return [places[name] for name in wanted]
    return None


def names_by_row(id2label: object) -> list[str]:
    """Return a head's names by row, from a list or JSON's dict."""
    if isinstance(id2label, Mapping):
        numbered = {int(row): str(name) for row, name in id2label.items() if str(row).isdigit()}
        return [numbered[row] for row in sorted(numbered)]
    return [str(name) for name in id2label] if isinstance(id2label, list | tuple) else []


def say_head_kept(origin: object, labels: Sequence[str]) -> None:
    """Say that a pretrained head is kept, and for which labels."""
    info(f"{origin}: its head is kept, its outputs in the order of the data's labels ({_shown(labels)})")


def say_head_new(origin: object, named: Sequence[str], labels: Sequence[str] | None, why: str = "") -> None:
    """Say that a new head is trained, and why the pretrained one does not do."""
    of = f"for {_shown(named)}" if named else "without names for its outputs"
    wanted = "a number" if labels is None else _shown(labels)
    info(f"{origin}: a new head is trained, since its own {why or f'is {of}, and the data has {wanted}'}")


def _shown(names: Sequence[str]) -> str:
    more = f" … ({len(names):,} in all)" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
