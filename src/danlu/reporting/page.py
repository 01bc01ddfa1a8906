"""report.html: read the files of a run directory once and fill the page's template.

In: a run directory. Out: one self-contained file. Sections, figures and sentences come from the modules beside this
one; render.py fills the template.
"""

import shlex
from pathlib import Path
from typing import Any

from danlu.artifacts.files import read_json, write_text
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import REPORT, WORST, RunDirectory
from danlu.artifacts.run_recipe import recipe_text
from danlu.reporting.i18n import get_translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json
from danlu.reporting.sections.compression import compression_section
from danlu.reporting.sections.data import data_section
from danlu.reporting.sections.evaluation import MAX_ROWS, evaluation_sections
from danlu.reporting.sections.explanation import explanation_section
from danlu.reporting.sections.findings import translate_findings
from danlu.reporting.sections.network import network_section
from danlu.reporting.sections.search import search_section
from danlu.reporting.sections.summary import summarize
from danlu.reporting.sections.training import training_section


def write_report(run: RunDirectory, language: str = "en") -> Path:
    """Write a run's report from the files in its directory.

    Args:
        run: a trained run; one that is not evaluated yet gets a page without metrics.
        language: en or zh.

    Returns:
        the page's path.

    Raises:
        ArgumentError: the language is not supported.
        ArtifactError: a file is missing or damaged, or the page cannot be written.
    """
    t = get_translator(language)
    profile = read_json(run.path / "data" / "profile.json")
    evaluation = run.evaluation()
    page = render(
        "page.html.j2",
        t,
        title=t("title", run=run.path.resolve().name),
        summary=summarize(t, profile, evaluation),
        profile=profile,
        findings=translate_findings(t, profile),
        **evaluation_sections(t, evaluation, _read_worst_errors(run)),
        **data_section(t, profile),
        search=search_section(t, run),
        training=training_section(t, run, evaluation),
        network=network_section(t, run),
        compression=compression_section(t, run),
        explanation=explanation_section(t, run),
        recipe=recipe_text(run.path / RECIPE),
        environment=environment_rows(run.environment()),
        most_rows=MAX_ROWS,
    )
    path = run.path / REPORT
    write_text(path, page)
    return path


def _read_worst_errors(run: RunDirectory) -> Json:
    """Read the worst errors that evaluation has written; empty if there are none."""
    file = run.predictions(WORST)
    return dict(read_json(file)) if file.is_file() else {}


def environment_rows(environment: Json) -> list[tuple[str, str]]:
    """Return the environment as rows; nested values on one line."""
    return [(name, _line(name, value)) for name, value in environment.items() if value is not None]


def _line(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    if isinstance(value, list):
        parts = [str(part) for part in value]
        return shlex.join(parts) if name == "command" else ", ".join(parts)
    return str(value)
