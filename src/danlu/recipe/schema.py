"""The whole recipe as one frozen value, and its JSON Schema."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, ValidationError

from danlu.core.component import Frozen, OneOf
from danlu.errors import Problem, RecipeError
from danlu.recipe.components import ModelOptions
from danlu.recipe.sections.bundle import BundleOptions
from danlu.recipe.sections.compression import Compression
from danlu.recipe.sections.data import Data
from danlu.recipe.sections.deployment import Deployment
from danlu.recipe.sections.evaluation import Evaluation
from danlu.recipe.sections.explanation import Explanation
from danlu.recipe.sections.training import Training
from danlu.recipe.sections.tuning import Tuning
from danlu.recipe.sections.visualization import Visualization

# pydantic's type of error -> the problem's code; any other is a wrong type or range.
CODES = {
    "extra_forbidden": "DL105",
    "missing": "DL106",
    "union_tag_invalid": "DL107",
    "literal_error": "DL107",
    "value_error": "DL110",
}
WRONG = "DL108"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _none_of_empty(value: object) -> object:
    """Read the empty list, which earlier versions wrote, as no section."""
    return None if value in ([], ()) else value


class Recipe(Frozen):
    """Describe everything from raw data to a served model.

    A section that is left out keeps its defaults.

    Raises:
        RecipeError: a key is unknown or missing, or a value is of the wrong type or out of range.

    Example:
        >>> import danlu
        >>> recipe = danlu.Recipe(data={"source": "builtin:wine"}, seed=3)
        >>> recipe.training.optimizer.name, recipe.data.split.test
        ('adamw', 0.15)
    """

    name: str = Field(default="model", pattern=NAME, max_length=100, description="names the run's folder")
    seed: NonNegativeInt = Field(default=0, description="every random choice is derived from it")
    data: Data
    model: Annotated[ModelOptions, OneOf("model")] | None = Field(
        default=None, description="chosen by the kind of data by default"
    )
    training: Training = Field(default_factory=Training)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    bundle: BundleOptions = Field(default_factory=BundleOptions)
    explanation: Explanation | None = None
    visualization: Annotated[Visualization | None, BeforeValidator(_none_of_empty)] = None
    tuning: Tuning | None = None
    compression: Compression | None = None
    deployment: Deployment | None = None

    if not TYPE_CHECKING:  # type checkers know the keys by pydantic's own

        def __init__(self, *values: Any, **sections: Any) -> None:
            if values:
                told = "sections are given by name, as danlu.Recipe(data={...}); load_recipe reads files and dicts"
                raise RecipeError(Problem("Recipe", "", told, WRONG))
            try:
                super().__init__(**sections)
            except ValidationError as error:
                raise RecipeError(
                    *(
                        Problem("Recipe", ".".join(map(str, each["loc"])), each["msg"], CODES.get(each["type"], WRONG))
                        for each in error.errors()
                    )
                ) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a recipe file, for editors.

    `extends` is read before the rest.
    """
    schema = Recipe.model_json_schema(by_alias=True)
    one_or_more = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    schema["properties"]["extends"] = {"description": "recipes that this one extends", **one_or_more}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
