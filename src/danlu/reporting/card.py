"""MODEL_CARD.md: what the recipients of a model should know (Model Cards, Mitchell et al. 2019).

In: a run directory. Out: Markdown, as https://arxiv.org/abs/1810.03993 suggests. What danlu cannot know is left to a
person, and that text is kept when the card is rewritten. The card belongs to the run, not to the bundle: it is meant
to be edited, and a bundle's files are sealed by checksums.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import GOLDEN, MANIFEST, REFERENCE, REFERENCE_ROWS
from danlu.artifacts.files import read_json, read_sealed, write_text
from danlu.artifacts.final_figures import final_figures
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import CARD, RunDirectory
from danlu.artifacts.run_recipe import recipe_text
from danlu.core.language import LANGUAGES
from danlu.reporting.format import format_bound, format_number, format_percent, format_signed, shorten
from danlu.reporting.i18n import Translator, get_translator
from danlu.reporting.page import environment_rows
from danlu.reporting.run_reader import Json, evaluated_splits
from danlu.reporting.sections.evaluation import (
    interval_text,
    slice_name,
    slices_sentence,
    test_evaluations_sentence,
)
from danlu.reporting.sections.findings import translate_findings
from danlu.reporting.sections.summary import Summary, summarize

BEGIN, END = "<!-- yours -->", "<!-- end of yours -->"
MAX_SLICES, MAX_CLASSES = 10, 50
INSIDE = (GOLDEN, REFERENCE, REFERENCE_ROWS)  # files of the bundle that tell of rows
PRIVATE = frozenset({"command"})  # useless to recipients of the model, and full of paths


def write_card(run: RunDirectory, language: str = "en") -> Path:
    """Write a run's model card.

    Args:
        run: an evaluated run.
        language: en or zh.

    Returns:
        the card's path.
    """
    t, path = get_translator(language), run.path / CARD
    write_text(path, "\n".join(_card_lines(t, run, _existing_user_text(path))).rstrip() + "\n")
    return path


def _existing_user_text(path: Path) -> str | None:
    """Return the user's text between the marks; None without a card or its marks."""
    if not path.is_file():
        return None
    _, begun, after = path.read_text(encoding="utf-8").partition(BEGIN)
    own, ended, _ = after.partition(END)
    told = own.strip()
    untouched = {Translator(language)("card.fill") for language in LANGUAGES}
    return told if begun and ended and told not in untouched else None


def _card_lines(t: Translator, run: RunDirectory, own: str | None) -> Iterator[str]:
    profile, evaluation = read_sealed(run.path / "data" / "profile.json"), run.evaluation()
    manifest = read_json(run.model / MANIFEST) if (run.model / MANIFEST).is_file() else {}
    name = run.path.resolve().name
    summary = summarize(t, profile, evaluation)
    yield f"# {t('card.title', name=_plain(manifest.get('name', name)))}\n"
    yield f"{t('card.made', run=name)}\n"
    yield f"{_plain(summary.opening)}\n"
    yield f"## {t('card.use')}\n\n{BEGIN}\n{own or t('card.fill')}\n{END}\n"
    yield f"## {t('card.model')}\n"
    yield from _model(t, run, manifest)
    yield f"## {t('data')}\n"
    yield from _data(t, profile)
    yield f"## {t('metrics')}\n"
    yield from _metrics(t, evaluation)
    yield from _baseline_lines(summary)
    yield from _classes(t, evaluation)
    yield from _slices(t, evaluation)
    yield f"## {t('card.limits')}\n"
    yield from _limits(t, summary, profile, evaluation)
    yield f"## {t('recipe')}\n\n````yaml\n{recipe_text(run.path / RECIPE).rstrip()}\n````\n"
    yield f"## {t('environment')}\n"
    known = run.environment()
    rows = environment_rows({key: known[key] for key in known if key not in PRIVATE})
    yield from (f"- {_plain(key)}: {_plain(value)}" for key, value in rows)


def _model(t: Translator, run: RunDirectory, manifest: Json) -> Iterator[str]:
    options = read_json(run.model / "config.json") if (run.model / "config.json").is_file() else {}
    between = t("between")
    yield f"- {t('card.architecture')}: {_plain(options.get('name', ''))}" if options else ""
    columns = [str(column.get("name", "")) for column in manifest.get("columns", ())]
    if columns:
        shown = between.join(_plain(name) for name in columns[:30]) + (" …" if len(columns) > 30 else "")
        yield f"- {t('card.takes')}: {shown}"
    labels = manifest.get("output", {}).get("labels")
    if labels:
        yield f"- {t('card.answers')}: {between.join(_plain(label) for label in labels[:MAX_CLASSES])}"
    inside = [t(f"card.inside.{name}") for name in INSIDE if name in manifest.get("files", {})]
    if inside:
        yield f"- {t('card.inside')}: {between.join(inside)}"
    yield ""


def _data(t: Translator, profile: Json) -> Iterator[str]:
    sizes = t("between").join(f"{t.split(name)} {size:,}" for name, size in profile["splits"].items())
    yield f"- {t('origin')}: {_plain(profile['origin'])}"
    yield f"- {t('samples')}: {profile['rows']:,} ({sizes})"
    if profile["findings"]:
        yield f"- {t('card.findings')}:"
        yield from (
            f"  - {_plain(each['subject'])}: {_plain(each['message'])}" for each in translate_findings(t, profile)
        )
    yield ""


def _metrics(t: Translator, evaluation: Json) -> Iterator[str]:
    if not evaluation:
        yield f"{t('not evaluated')}\n"
        return
    confidence = format_percent(evaluation.get("intervals", {}).get("confidence", 0.95))
    head, splits = [t("metric")], evaluated_splits(evaluation)
    for split in splits:
        head += [t("card.split", split=t.split(split), confidence=confidence)]
    names = [name for name, figure in final_figures(evaluation).items() if "value" in figure]
    rows = [[name, *(_metric_cell(evaluation[split].get(name, {})) for split in splits)] for name in names]
    yield from _table(head, rows)


def _metric_cell(figure: Json) -> str:
    interval = interval_text(figure)
    return f"{format_number(figure.get('value'))}{f' ({interval})' if interval else ''}"


def _baseline_lines(summary: Summary) -> Iterator[str]:
    """Yield the comparison with the baselines."""
    if summary.worth:
        yield f"{_plain(summary.worth)}\n"
    for verdict in summary.verdicts:
        yield f"- {_plain(verdict.standing)} {_plain(verdict.baseline)}{_plain(verdict.sentence)}"
    yield ""


def _classes(t: Translator, evaluation: Json) -> Iterator[str]:
    classes: dict[str, Json] = final_figures(evaluation).get("classes", {})
    if not classes:
        return
    yield f"### {t('each class.caption')}\n"
    columns = ("precision", "recall", "f1")
    rows = [
        [shorten(label, 48), *(_class_cell(figures, name) for name in columns), format_number(figures["support"])]
        for label, figures in list(classes.items())[:MAX_CLASSES]
    ]
    yield from _table([t("class"), *(t(name) for name in columns), t("samples")], rows)


def _class_cell(figures: Json, name: str) -> str:
    interval = figures.get("intervals", {}).get(name)
    told = f" ({format_bound(interval[0])} – {format_bound(interval[1])})" if interval else ""
    return f"{format_number(figures[name])}{told}"


def _slices(t: Translator, evaluation: Json) -> Iterator[str]:
    slices = evaluation.get("slices") or {}
    found = slices.get("found", [])
    if not found:
        return
    yield f"### {t('slices')}\n\n{_plain(slices_sentence(t, evaluation))}\n"
    rows = [
        [
            slice_name(t, each),
            format_number(each["size"]),
            format_number(each["value"]),
            format_number(each["rest"]),
            f"{format_signed(each['difference'])} ({format_signed(each['low'])} – {format_signed(each['high'])})",
        ]
        for each in found[:MAX_SLICES]
    ]
    yield f"{t('card.slices.caption', shown=len(rows), count=len(found))}\n"
    yield from _table([t("slice"), t("size"), slices["metric"], t("rest"), t("difference")], rows)


def _limits(t: Translator, summary: Summary, profile: Json, evaluation: Json) -> Iterator[str]:
    told = [t("card.limit.data"), *summary.advice, summary.caution]
    if "looks" in evaluation:
        told.append(test_evaluations_sentence(t, evaluation["looks"]["test"]))
    told.append(t("card.limit.use"))
    yield from (f"- {_plain(sentence)}" for sentence in told if sentence)
    yield ""


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(_cell(cell) for cell in head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(value: str) -> str:
    return _plain(value).replace("|", "\\|")


def _plain(value: Any) -> str:
    """Escape text for Markdown: on one line, without HTML."""
    return shorten(value, 2000).replace("&", "&amp;").replace("<", "&lt;")
