"""Text to YAML values, in bounded time and memory: how deep, how many values, how far aliases may expand.

Whatever a text holds, it is read or refused with a line and a reason.
"""

from typing import Any

MAX_CHARS, MAX_DEPTH, MAX_VALUES = 2_000_000, 50, 100_000


class YamlProblem(Exception):
    """Say why a text is no YAML that danlu reads.

    Attributes:
        line: from 1; None if unknown.
        reason: to follow "is not YAML: ".
    """

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def parse_yaml(text: str, *, with_places: bool) -> Any:
    """Parse YAML 1.2 into values.

    Args:
        text: one document.
        with_places: keep the lines of keys, as ruamel's own mappings and lists do; else give plain ones.

    Raises:
        YamlProblem: it is no YAML, too long or too deep, or its aliases expand to too much.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_CHARS:
        raise YamlProblem(None, f"more than {MAX_CHARS:,} characters, which is data rather than a recipe")
    try:
        _require_bounds(text)
        return YAML().load(text) if with_places else YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        raise YamlProblem(error.problem_mark.line + 1 if error.problem_mark else None, str(error.problem)) from None
    except YAMLError as error:
        raise YamlProblem(None, str(error)) from None
    except YamlProblem:
        raise
    except Exception as error:  # a date of no calendar, a number of thousands of digits, a tag of no use here …
        raise YamlProblem(None, f"a value cannot be read ({type(error).__name__}: {error})") from error


def _require_bounds(text: str) -> None:
    """Raise YamlProblem if the nesting is too deep, or aliases expand to too many values.

    Events come one by one and are counted before anything is built of them.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

    sizes: dict[str, int] = {}  # values within each anchor
    opened: list[tuple[str | None, int]] = []  # the anchors around, and the values counted when they began
    values = 0
    for event in YAML().parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise YamlProblem(line, f"*{event.anchor} stands within &{event.anchor} itself")
            values += sizes.get(str(event.anchor), 1)
        elif isinstance(event, NodeEvent):
            values += 1
            if isinstance(event, CollectionStartEvent):
                opened.append((event.anchor, values - 1))
        if len(opened) > MAX_DEPTH:
            raise YamlProblem(line, f"nested more than {MAX_DEPTH} levels deep")
        if values > MAX_VALUES:
            raise YamlProblem(line, f"more than {MAX_VALUES:,} values, those of aliases counted")
