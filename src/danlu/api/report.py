"""`danlu report`: draw a run's report again from its files, in any language."""

from pathlib import Path

from danlu.artifacts.files import StrPath
from danlu.artifacts.outputs import refuse_existing_file
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import REPORT, RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.arguments import checked
from danlu.reporting.page import page_sections, write_report
from danlu.reporting.results import ReportResult


@checked
def report(
    run: StrPath, *, language: str | None = None, output: str | Path | None = None, overwrite: bool = False
) -> ReportResult:
    """Draw a run's report again from its files; compute nothing and look at no split.

    Args:
        run: a run directory; one that is not evaluated yet gets a page without metrics.
        language: en or zh; None for the recipe's.
        output: file for the page; by default the run's own report.html, which is replaced.
        overwrite: replace an existing file of `output`.

    Returns:
        `run`, `path` of the page, `lang`, `sections` (`id` and `title`, in the page's order) and `looks`, how often the
        test split has been evaluated, which stays as it was.

    Raises:
        ArgumentError: it is not a run, the language is not available, or the file exists already.
        ArtifactError: a file of the run is missing or damaged, or the page cannot be written.

    Example:
        >>> import danlu
        >>> page = danlu.report("runs/wine", language="zh", output="wine.zh.html")
        >>> page["lang"], page["sections"][0]
        ('zh', {'id': 'summary', 'title': '概要'})
    """
    directory = RunDirectory.open(run)
    language = language or load_run_recipe(directory.path / RECIPE).evaluation.language
    file = None if output is None else Path(output)
    if file is not None and file.absolute() != (directory.path / REPORT).absolute():
        refuse_existing_file(file, overwrite)
    path = write_report(directory, language, file)
    sections = page_sections(path.read_text(encoding="utf-8"))
    return ReportResult(
        run=str(directory.path),
        path=str(path),
        lang=language,
        sections=[{"id": key, "title": title} for key, title in sections],
        looks=int(directory.evaluation().get("looks", {}).get("test", 0)),
    )
