"""report.html: read the files of a run directory once and fill the page's template.

In: a run directory. Out: one self-contained file. Sections, figures and sentences come from the modules beside this
one; render.py fills the template.
"""

import shlex
from pathlib import Path
from typing import Any

from danlu.artifacts.files import read_json, write_text
from danlu.artifacts.lines import ALARMS, THROUGHPUT, read_lines
from danlu.artifacts.run import ENVIRONMENT, RECIPE, REPORT, WORST, RunDirectory
from danlu.report import words, written
from danlu.report.described import described
from danlu.report.figures import training_curves
from danlu.report.judged import MOST_ROWS, judged
from danlu.report.learning import learning
from danlu.report.readings import Json, kept_step
from danlu.report.rendering import render
from danlu.report.searched import searched
from danlu.report.svg import inlined
from danlu.report.tongue import Tongue, tongue_of

LR_RANGE = "lr-range.svg"


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
    t = tongue_of(language)
    profile = read_json(run.path / "data" / "profile.json")
    evaluation = run.evaluation()
    page = render(
        "page.html.j2",
        t,
        title=t("title", run=run.path.resolve().name),
        summary=words.summarise(t, profile, evaluation),
        profile=profile,
        findings=written.findings(t, profile),
        **judged(t, evaluation, _worst(run)),
        **described(t, profile),
        search=searched(t, run),
        training=_training(t, run, evaluation),
        recipe=(run.path / RECIPE).read_text(encoding="utf-8"),
        environment=environment_rows(read_json(run.path / ENVIRONMENT)),
        most_rows=MOST_ROWS,
    )
    path = run.path / REPORT
    write_text(path, page)
    return path


def _worst(run: RunDirectory) -> Json:
    """Read the worst errors that evaluation has written; empty if there are none."""
    file = run.path / "predictions" / WORST
    return dict(read_json(file)) if file.is_file() else {}


def _training(t: Tongue, run: RunDirectory, evaluation: Json) -> Json:
    """Build the section on training: kept weights, diagnosis, alarms, throughput."""
    log, searched = run.metrics(), run.path / LR_RANGE
    return {
        "figure": training_curves(t, log),
        "kept": words.kept(t, kept_step(log)),
        "learned": words.learned(t, learning(log, evaluation)),
        "alarms": written.alarms(t, read_lines(run.path / ALARMS)),
        "throughput": words.throughput(t, read_lines(run.path / THROUGHPUT)),
        "lr_range": inlined(searched, "lr-range", t("label.lr range")) if searched.is_file() else "",
    }


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
