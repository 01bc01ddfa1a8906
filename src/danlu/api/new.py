"""`danlu new`: inspect data and write a commented recipe for it."""

from pathlib import Path

from danlu.artifacts.files import write_text
from danlu.artifacts.outputs import refuse_existing_file, refuse_input
from danlu.core.arguments import checked
from danlu.core.language import Language
from danlu.data.interpret import open_dataset
from danlu.experiment.defaults import resolve_recipe
from danlu.experiment.starter_recipe import minimal_recipe, relative_source, render_recipe
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import Data
from danlu.reporting.console_words import translate_comments


@checked
def new(
    source: str | Path,
    *,
    target: str | None = None,
    output: str | Path | None = None,
    language: Language = "en",
    overwrite: bool = False,
) -> str:
    """Write a recipe for the given data.

    Args:
        source: file, folder, glob or builtin:NAME.
        target: the column to predict, if the data needs one.
        output: file for the recipe; by default the text is only returned.
        language: of the comments, en or zh.
        overwrite: replace an existing file.

    Returns:
        the recipe's text.

    Raises:
        ArgumentError: the file exists already.
        DataError: the data is missing, unreadable or has no such column.

    Example:
        >>> import danlu
        >>> print(danlu.new("builtin:wine").splitlines()[0])
        # 178 rows ...
    """
    source, path = str(source), None if output is None else Path(output)
    if path is not None:
        refuse_input(path, source)
        refuse_existing_file(path, overwrite)
    dataset = open_dataset(Data(source=source, target=target))
    resolved = resolve_recipe(check_recipe(minimal_recipe(source, dataset)), dataset)
    text = render_recipe(source if path is None else relative_source(source, path), dataset, resolved)
    text = translate_comments(text, language)
    if path is not None:
        write_text(path, text)
    return text
