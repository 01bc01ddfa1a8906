"""`danlu models`: list the models a recipe may name, with parameters and FLOPs at a typical input."""

from danlu.core.arguments import checked
from danlu.errors import ArgumentError
from danlu.models.catalog import ModelInfo, iter_models, listed_kinds


@checked
def list_models(task: str | None = None, *, like: str | None = None) -> list[ModelInfo]:
    """List the models for one kind of data, or all.

    Args:
        task: table, images, texts or language.
        like: a name or glob such as `timm:resnet*`, which searches all models of timm.

    Raises:
        ArgumentError: the task is unknown, or nothing matches `like`.
        MissingExtra: `like` names timm models, and timm is not installed.

    Example:
        >>> import danlu
        >>> sorted({model.name for model in danlu.list_models(like="m*")})
        ['mlp']
    """
    if task is not None and task not in listed_kinds():
        raise ArgumentError(f"--task {task}: unknown task (allowed: {', '.join(listed_kinds())})", code="DL402")
    found = [known for known in iter_models(like) if task in (None, known.takes)]
    if not found:
        raise ArgumentError(f"no model matches {like!r}; `danlu models` lists all", code="DL402")
    return found
