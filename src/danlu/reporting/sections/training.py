"""The report's section on training: kept weights, curves and their diagnosis, alarms, throughput.

In: a run's logs. Out: sentences and figures for the template.
"""

import statistics

from danlu.artifacts.files import read_jsonl
from danlu.artifacts.run import ALARMS, THROUGHPUT, RunDirectory
from danlu.core.console import format_duration
from danlu.reporting.curve_diagnosis import CurveDiagnosis, diagnose_curves
from danlu.reporting.figures.bars import training_curves
from danlu.reporting.figures.svg import inline_svg
from danlu.reporting.format import format_number
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json, Kept, kept_step
from danlu.reporting.sections.findings import translate_alarms

LR_RANGE = "lr-range.svg"


def training_section(t: Translator, run: RunDirectory, evaluation: Json) -> Json:
    """Build the section on training: kept weights, diagnosis, alarms, throughput."""
    log, searched = run.metrics(), run.path / LR_RANGE
    return {
        "figure": training_curves(t, log),
        "kept": kept_sentence(t, kept_step(log)),
        "learned": diagnosis_sentences(t, diagnose_curves(log, evaluation)),
        "alarms": translate_alarms(t, read_jsonl(run.path / ALARMS)),
        "throughput": throughput_sentence(t, read_jsonl(run.path / THROUGHPUT)),
        "lr_range": inline_svg(searched, "lr-range", t("label.lr range")) if searched.is_file() else "",
    }


def kept_sentence(t: Translator, step: Kept | None) -> str:
    """Say which weights were kept, and why."""
    if step is None:
        return t("kept.none")
    metric = step.metric.removeprefix("validation/")
    return t("kept", step=f"{step.step:,}", metric=_metric_label(t, metric), value=format_number(step.value))


def diagnosis_sentences(t: Translator, how: CurveDiagnosis | None) -> tuple[str, ...]:
    """Describe the curve diagnosis and suggest remedies; empty without one."""
    if how is None:
        return ()
    away = how.validation - how.training
    told = t(
        "learned.gap" if away > 0 else "learned.no gap",
        when=t("learned.round" if how.by_rounds else "learned.step", number=f"{how.best_step:,}"),
        validation=format_number(how.validation),
        training=format_number(how.training),
        gap=format_number(away),
    )
    key = f"{'grown' if how.by_rounds and t.has(f'grown.{how.diagnosis}') else 'sign'}.{how.diagnosis}"
    sign = t(key, last=format_number(how.last_validation), fell=format_number(how.last_training))
    return told if how.by_rounds else t.join_sentences([told, t("learned.measured")]), sign


def throughput_sentence(t: Translator, lines: list[Json]) -> str:
    """Describe the training throughput in a sentence; empty if not measured."""
    if not lines:
        return ""
    tokens = memory = share = ""
    if "tokens_per_s" in lines[-1]:
        tokens = t("throughput.tokens", rate=format_number(statistics.median(line["tokens_per_s"] for line in lines)))
    peak = max((line.get("peak_bytes", 0) for line in lines), default=0)
    if peak:
        memory = t("throughput.memory", size=f"{peak / 1e9:.2f}")
    if "mfu" in lines[-1]:
        share = t("throughput.share", share=f"{statistics.median(line['mfu'] for line in lines):.0%}")
    rate = format_number(statistics.median(line["samples_per_s"] for line in lines))
    taken = format_duration(lines[-1]["seconds"])
    return t("throughput", duration=taken, rate=rate, tokens=tokens, memory=memory, share=share)


def _metric_label(t: Translator, metric: str) -> str:
    """Return a metric's name; the loss is translated."""
    return t("axis.loss") if metric == "loss" else metric
