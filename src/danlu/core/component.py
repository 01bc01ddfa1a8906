"""Components: the named, typed choices that a recipe offers (an optimizer, a model, a scaler …).

A component is a small frozen class: its fields are its options, its methods do the work. Each kind has one table `NAME
-> class` in the folder that owns it, and the recipe's schema is built from these tables, so that every listed name is
valid, documented and completed by editors. Other packages add theirs through the entry-point group `danlu.<kind>`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from danlu.core.tables import TABLES
from danlu.errors import ArgumentError


class Frozen(BaseModel):
    """Forbid changes and unknown keys in a typed value.

    Its schema is built at first use: a section's schema needs the tables of layers that themselves import the section.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def first_fault(error: ValidationError, whole: str = "") -> str:
    """Return the field that validation refuses first, and why: `training.epochs: Input should be ...`.

    Args:
        error: of pydantic.
        whole: what stands in place of a field where the value as a whole is refused.
    """
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


class Component(Frozen):
    """Describe one choice of a kind.

    `name` is a Literal of the name it is listed under (or a pattern `family:rest`).

    Attributes:
        extra: danlu's extra that it needs, if any.
    """

    extra: ClassVar[str | None] = None
    name: str

    @classmethod
    def of(cls, component: "Component | None") -> Self:
        """Return a recipe's component as this class, with its methods and their types.

        A recipe declares a component by what its own layer knows of the kind; the base class with the methods belongs
        to the layer that does the work.

        Raises:
            ArgumentError: it is no component of this kind, as a plugin's may be.
        """
        if isinstance(component, cls):
            return component
        given = "nothing is chosen" if component is None else f"{component.name} ({type(component).__name__}) is none"
        raise ArgumentError(
            f"a {cls.__name__} is needed, and {given}; a plugin's class must be derived from it", code="DL412"
        )


@cache
def components(kind: str) -> Mapping[str, type[Component]]:
    """Return the table of a kind, including components of plugins (`danlu.<kind>`).

    The table is imported at its first use. A built-in name cannot be replaced from outside.
    """
    module, attribute = TABLES[kind].split(":")
    own: dict[str, type[Component]] = getattr(importlib.import_module(module), attribute)
    added = {point.name: point.load() for point in entry_points(group=f"danlu.{kind}") if point.name not in own}
    return {**own, **added}


@dataclass(frozen=True)
class OneOf:
    """Annotate a recipe field that takes one component: `Annotated[Component, OneOf("optimizer", "adamw")]`.

    Attributes:
        kind: a key of `TABLES`, as `danlu.registry` lists them.
        default: the component meant by options without a name: `{lr: 1e-3}`.
    """

    kind: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        table = components(self.kind)
        union = core_schema.tagged_union_schema(
            choices={name: handler.generate_schema(component) for name, component in table.items()},
            discriminator=_component_name,
        )
        return core_schema.no_info_before_validator_function(self._normalize, union)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        names = list(components(self.kind))
        forms = handler(schema)
        return {"anyOf": [{"enum": names}, {"type": "string", "pattern": f"^({'|'.join(names)}):"}, forms]}

    def _normalize(self, value: Any) -> Any:
        """Expand the short ways of writing a component into the long one."""
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, Mapping) or "name" in value:
            return value
        (first, *others) = value or ("",)
        component = components(self.kind).get(str(first).split(":", 1)[0])
        if self.default is not None and (component is None or others):
            return {"name": self.default, **value}
        if not first or others:
            return value
        options = value[first]
        if component is not None and not isinstance(options, Mapping):
            only = next((field for field in component.model_fields if field != "name"), "value")
            options = {only: options}
        return {"name": first, **(options if isinstance(options, Mapping) else {})}


def _component_name(value: Any) -> str | None:
    """Return the component's name in the table: the part before the colon in `timm:resnet18`."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    return str(name).split(":", 1)[0] if name is not None else None
