"""Results in a notebook's cell: a run, an evaluation, a comparison, a profile or a predictor as a small piece of HTML.

In: what the public functions return. Out: HTML of some kilobytes in the style and the words of the report, everything
from the data escaped, without a page around it. `DANLU_LANG` says in which language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from danlu.artifacts.files import read_sealed
from danlu.artifacts.final_figures import final_split
from danlu.artifacts.run import RunDirectory
from danlu.reporting.comparison import comparison_opening, comparison_rows, difference_sentence
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator, environment_translator
from danlu.reporting.render import render
from danlu.reporting.run_reader import Json, evaluated_splits, kept_step, metric_rows
from danlu.reporting.sections.evaluation import interval_text, metric_description
from danlu.reporting.sections.findings import translate_findings, translate_reason
from danlu.reporting.sections.search import search_section
from danlu.reporting.sections.summary import summarize

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

MAX_ROWS = 8  # of a table in a cell; what there is beyond is counted
MAX_TEXT = 80  # characters of a name
PROFILE_FILE = "profile.json"
EMPTY = "–"


@dataclass(frozen=True)
class Cell:
    """Hold a table cell: its text, and a smaller one below it."""

    text: str
    under: str = ""


@dataclass(frozen=True)
class CellTable:
    """Hold a small table; the first cell of a row is its heading."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Card:
    """Hold what a cell shows: a heading, sentences, tables."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[CellTable] = ()


def evaluation_html(evaluation: Json) -> str:
    """Draw what `danlu.evaluate` returns."""
    t = environment_translator()
    return _draw(t, Card(t("notebook.evaluation"), (), _metric_tables(t, evaluation)))


def comparison_html(found: Json) -> str:
    """Draw what `danlu.compare` returns."""
    t = environment_translator()
    told = [difference_sentence(t, found, each) for each in found["differences"]]
    return _draw(t, Card(t("notebook.comparison"), (comparison_opening(t, found), *told), _compared(t, found)))


def profile_html(profile: Json) -> str:
    """Draw what `danlu.check` returns."""
    t = environment_translator()
    return _draw(t, _profile_card(t, profile))


def runs_html(runs: Sequence[Json]) -> str:
    """Draw what `danlu.runs` returns."""
    t = environment_translator()
    head = [t(f"notebook.{key}") for key in ("run", "model", "seed", "state")]
    head += [t("metric"), t("split.test"), t("notebook.baseline")]
    keys = ("model", "seed", "state", "metric", "test", "best_baseline")
    rows = [
        [Cell(shorten(row["run"], MAX_TEXT)), *(Cell(_state(t, format_number(row[key]))) for key in keys)]
        for row in runs[:MAX_ROWS]
    ]
    return _draw(t, Card(t("notebook.runs"), _beyond(t, len(runs)), [CellTable(head, rows)] if rows else []))


def run_html(run: RunDirectory) -> str | None:
    """Draw a run: what was learned, how well it answers, how a search went.

    None if its folder is gone.
    """
    profile_file = run.path / "data" / PROFILE_FILE
    if not profile_file.is_file():
        return None
    t, profile, evaluation = environment_translator(), read_sealed(profile_file), run.evaluation()
    summary = summarize(t, profile, evaluation)
    kept, search = kept_step(run.metrics()), search_section(t, run)
    told = [summary.opening, summary.worth, search.get("told", "")]
    if kept is not None and not evaluation:
        told.append(t("kept", step=kept.step, metric=kept.metric, value=format_number(kept.value)))
    tables = [*_metric_tables(t, evaluation), *_trial_tables(t, search)]
    title = f"{t('notebook.run')}: {shorten(run.path.resolve().name, MAX_TEXT)}"
    return _draw(t, Card(title, [*filter(None, told), str(run.path)], tables))


def predictor_html(predictor: "Predictor") -> str:
    """Draw a predictor: its model, the columns that it reads, what it answers."""
    t, manifest = environment_translator(), predictor.manifest
    parameters = sum(weight.numel() for weight in predictor.model.parameters())
    read = predictor.preprocessor.columns
    rows = [
        (t("notebook.model"), predictor.options.name),
        (t("notebook.parameters"), f"{parameters:,}"),
        (t("task"), t(f"task.{manifest.task}")),
        (t("columns"), _listed(t, read)),
    ]
    labels = getattr(predictor.target, "labels", ())
    rows += [(t("classes"), _listed(t, [str(label) for label in labels]))] if labels else []
    table = CellTable((), [(Cell(name), Cell(shorten(value, 400))) for name, value in rows])
    return _draw(t, Card(t("notebook.predictor", name=shorten(manifest.name, MAX_TEXT)), (), [table]))


def _draw(t: Translator, card: Card) -> str:
    return render("notebook.html.j2", t, card=card)


def _metric_tables(t: Translator, evaluation: Json) -> list[CellTable]:
    """Return the table of metrics on each split, and of the baselines on test.

    None without an evaluation.
    """
    if not evaluation:
        return []
    splits, baselines = evaluated_splits(evaluation), evaluation.get("baselines", {})
    head = [t("metric"), *(t.split(split) for split in splits), *(shorten(name) for name in baselines)]
    rows = []
    for row in metric_rows(evaluation)[:MAX_ROWS]:
        own = [evaluation[split].get(row.name, {}) for split in splits]
        figures = [Cell(format_number(each.get("value")) or EMPTY, interval_text(each)) for each in own]
        others = [Cell(format_number(cell.value) or EMPTY) for cell in row.figures.get(final_split(evaluation), ())[1:]]
        rows.append([Cell(row.name, metric_description(t, row.name)), *figures, *others])
    return [CellTable(head, rows, t("notebook.metrics") if baselines else "")]


def _trial_tables(t: Translator, search: Json) -> list[CellTable]:
    """Return the table of a search's best trials."""
    if not search:
        return []
    rows = [
        [Cell(str(number)), Cell(format_number(value) or EMPTY), *(Cell(shorten(told, 40)) for told in values)]
        for number, value, values, _ in search["rows"][:MAX_ROWS]
    ]
    return [CellTable([t("trial"), search["metric"], *search["keys"]], rows, t("search.best"))]


def _compared(t: Translator, found: Json) -> list[CellTable]:
    """Return the metrics of the compared runs with the differences to the first."""
    others = [each["run"] for each in found["differences"]]
    first = found["differences"][0]["against"]
    less = [t("compare.less", run=shorten(name), first=shorten(first)) for name in others]
    rows = [
        [
            Cell(row["name"], row["meaning"]),
            *map(Cell, row["figures"]),
            *(Cell(each["value"] or EMPTY, each["interval"]) for each in row["apart"]),
        ]
        for row in comparison_rows(t, found)[:MAX_ROWS]
    ]
    return [CellTable([t("metric"), *found["runs"], *less], rows)]


def _profile_card(t: Translator, profile: Json) -> Card:
    """Return the card of a data profile: sizes, findings, columns."""
    sizes = t.join(f"{t.split(name)} {count:,}" for name, count in profile["splits"].items())
    kind = t.join([t(f"kind.{profile['kind']}"), t(f"task.{profile['task']}"), t.count(profile["rows"], "row")])
    findings = translate_findings(t, profile)
    told = [f"{found['subject']}: {found['message']}" for found in findings[:MAX_ROWS]] or [t("audit.clean")]
    columns = profile["columns"]
    rows = [
        [
            Cell(shorten(column["name"], MAX_TEXT), translate_reason(t, column["reason"])),
            Cell(column["type"]),
            Cell(t("yes" if column["used"] else "no")),
            Cell(format_number(column["missing"])),
            Cell(format_number(column["unique"])),
        ]
        for column in columns[:MAX_ROWS]
    ]
    head = [t(key) for key in ("column", "type", "used", "missing", "different")]
    sentences = [kind, sizes, *told, *_beyond(t, len(columns))]
    return Card(f"{t('data')}: {shorten(profile['origin'], MAX_TEXT)}", sentences, [CellTable(head, rows)])


def _beyond(t: Translator, count: int) -> list[str]:
    """Say how many rows a table leaves out."""
    return [t("notebook.beyond", most=MAX_ROWS, count=f"{count:,}")] if count > MAX_ROWS else []


def _listed(t: Translator, names: Sequence[str]) -> str:
    """Return the first names of a list, and how many there are."""
    first = t.join(shorten(name, 40) for name in names[:MAX_ROWS])
    return first if len(names) <= MAX_ROWS else f"{first}… ({len(names):,})"


def _state(t: Translator, word: str) -> str:
    """Return a run's state in the language; other words stay as they are."""
    return t(f"state.{word}") if t.has(f"state.{word}") else word or EMPTY
