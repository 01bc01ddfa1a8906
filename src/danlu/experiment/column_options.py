"""Options of single columns that would change nothing are refused: those of a type or role that does not read them."""

from danlu.data.dataset import Dataset
from danlu.errors import Problem, RecipeError
from danlu.recipe.sections.data import ColumnOptions, Data

READING = {"datetime": ("format",), "number": ("decimal", "grouping")}  # by type, used or not
PREPARING = {"number": ("scale", "missing"), "datetime": ("scale", "missing"), "category": ("encode",)}
INSTEAD = {"scale": "number", "missing": "number", "encode": "category"}


def check_column_options(data: Data, dataset: Dataset) -> None:
    """Raise RecipeError for the first option that its column does not read."""
    targets = data.target if isinstance(data.target, tuple) else (data.target or dataset.target,)
    types = {column.name: column.type for column in dataset.columns}
    used = {column.name for column in dataset.used} if dataset.kind.has_feature_columns else set()
    for name in data.columns:
        if name not in types and name not in targets:
            continue  # it assigns rows to splits or folds
        options = data.options_of(name)
        said = [key for key in ColumnOptions.model_fields if key != "type" and getattr(options, key) is not None]
        for key in said:
            why = _refusal(key, name, targets, types, used)
            if why is not None:
                raise RecipeError(Problem("", f"data.columns.{name}.{key}", why, code="DL114"))


def _refusal(key: str, name: str, targets: tuple[str | None, ...], types: dict[str, str], used: set[str]) -> str | None:
    """Return why an option of a column changes nothing; None where it is read."""
    if name in targets:
        if key in ("format", "decimal", "grouping"):
            return None if key != "format" else "is the layout of dates, and the target is none; remove it"
        instead = " or set data.target_transform" if key == "scale" else ""
        return f"{name!r} is the target, which is not prepared as an input is; remove it{instead}"
    type_ = types[name]
    if key in READING.get(type_, ()):
        return None
    if key in ("format", "decimal", "grouping"):
        of = "dates" if key == "format" else "numbers"
        return f"is of {of}, and {name!r} is read as {type_}; remove it, or say its type"
    if name not in used:
        return f"{name!r} is not given to the model as a column of its own; remove it"
    if key not in PREPARING.get(type_, ()):
        return f"{name!r} is read as {type_}, whose {key} is not chosen; remove it, or set type: {INSTEAD[key]}"
    return None
