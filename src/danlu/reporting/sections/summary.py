"""The report's summary, in plain words and without flattery: the task, the result, and what the model is worth.

In: the parsed profile and evaluation. Out: sentences, not yet escaped for HTML. The texts stand in the locale files;
which of them are used is decided here.
"""

import math
from dataclasses import dataclass
from typing import Any

from danlu.artifacts.final_figures import final_figures, final_split
from danlu.data.kinds.table import get_kind
from danlu.reporting.format import format_bound, format_number, format_percent, format_signed, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import (
    BaselineComparison,
    Json,
    compare_with_baselines,
    main_metric,
    main_value,
)
from danlu.reporting.sections.evaluation import baseline_description, slices_sentence
from danlu.tasks.table import get_task

FEW_SAMPLES = 100  # with fewer test samples a metric says little
SMALL_GAP = 0.01  # relative difference below which two errors or perplexities are not clearly different


@dataclass(frozen=True)
class Verdict:
    """Hold the comparison with one baseline: the standing in a word, and a sentence."""

    standing: str
    baseline: str
    sentence: str


@dataclass(frozen=True)
class Summary:
    """Hold the first section of the page.

    Attributes:
        opening: the task, the amount of data and the result, in a paragraph.
        verdicts: one per baseline.
        worth: whether the model earns its cost; empty without an interval.
        advice: what to do if a simpler model is as good; empty otherwise.
        slices: whether some slices of the test split are worse.
        caution: how much the test split can tell.
    """

    opening: str
    verdicts: tuple[Verdict, ...] = ()
    worth: str = ""
    advice: tuple[str, ...] = ()
    slices: str = ""
    caution: str = ""


def summarize(t: Translator, profile: Json, evaluation: Json) -> Summary:
    """Summarize the task, the result, and whether a simpler model would have sufficed."""
    refits = bool((evaluation.get("folds") or {}).get("metrics"))
    opening = [_task_sentence(t, profile), _split_sentence(t, profile, refits)]
    if not evaluation:
        return Summary(t.join_sentences([*opening, t("not evaluated")]))
    comparisons = compare_with_baselines(evaluation)
    samples = _judged_rows(profile, evaluation)
    opening.append(_result_sentence(t, profile, evaluation))
    if "positive" in evaluation:
        opening.append(t("positive class", label=shorten(evaluation["positive"], 40)))
    if not comparisons:
        opening.append(t("no baseline"))
    confidence = evaluation.get("intervals", {}).get("confidence", 0.95)
    return Summary(
        opening=t.join_sentences(opening),
        verdicts=tuple(
            Verdict(t(f"standing.{each.standing}"), each.baseline, _verdict(t, each, samples, confidence))
            for each in comparisons
        ),
        worth=_worth_sentence(t, comparisons, samples),
        advice=tuple(filter(None, (_alarm(t, evaluation), *(_advice(t, each, samples) for each in comparisons)))),
        slices=slices_sentence(t, evaluation),
        caution=_caution(t, profile, evaluation),
    )


def _task_sentence(t: Translator, profile: Json) -> str:
    kind, target = get_kind(profile["kind"]), profile["target"]
    own = f"predicted.{kind}"
    if t.has(own) or target is None:
        return t(own if t.has(own) else "predicted.corpus")
    used = sum(bool(column["used"]) for column in profile["columns"])
    given = t(f"given.{kind}") if t.has(f"given.{kind}") else t.count(used, "column")
    name = shorten(t.join(target.get("outputs", (target["name"],))), 80)
    return t("predicted.target", name=name, what=_what_is_predicted(t, profile), given=given)


def _what_is_predicted(t: Translator, profile: Json) -> str:
    """Say what a target holds: `2 classes`, `a number`, `3 numbers`."""
    target = profile["target"]
    if "outputs" in target:
        return t.count(len(target["outputs"]), "number")
    noun = get_task(profile["task"]).noun
    return t.count(len(target["classes"]), noun) if "classes" in target else t("a number")


def _judged_rows(profile: Json, evaluation: Json) -> int:
    """Count the rows that the final figures are of."""
    sizes, final = profile["splits"], final_split(evaluation)
    held = sizes.get("test", 0)
    return int(profile["rows"] - held if final == "folds" else sizes.get(final, 0))


def _split_sentence(t: Translator, profile: Json, refits: bool) -> str:
    parts = {name: f"{int(profile['splits'].get(name, 0)):,}" for name in ("train", "validation", "test")}
    rows = t.count(int(profile["rows"]), _noun(profile))
    if not profile["splits"].get("test", 0):
        return t("parts.no test", rows=rows, **parts)
    if not profile["splits"].get("validation", 0):
        key = "parts.refit" if refits else "parts.no validation"
        return t(key, rows=rows, train=parts["train"], test=parts["test"])
    return t("parts", rows=rows, **parts)


def _noun(profile: Json) -> str:
    return get_kind(profile["kind"]).row_noun


def _result_sentence(t: Translator, profile: Json, evaluation: Json) -> str:
    metric, value = main_metric(evaluation), main_value(evaluation)
    if value is None:
        return t("undefined", metric=metric)
    figure, interval = final_figures(evaluation)[metric], ""
    if "low" in figure and "intervals" in evaluation:
        interval = t("in brackets", what=_interval_text(t, figure, evaluation["intervals"]["confidence"]))
    told = t("achieved", metric=metric, value=format_number(value), interval=interval)
    confusion = final_figures(evaluation).get("confusion")
    if confusion is None or metric != "accuracy":
        return told + t("full stop")
    right = sum(row[index] for index, row in enumerate(confusion["counts"]))
    samples = t.count(sum(map(sum, confusion["counts"])), _noun(profile))
    return told + t("answered rightly", right=f"{right:,}", samples=samples)


def _interval_text(t: Translator, figure: Json, confidence: float, sign: bool = False) -> str:
    write = format_signed if sign else format_bound
    return t("interval", confidence=format_percent(confidence), low=write(figure["low"]), high=write(figure["high"]))


def _verdict(t: Translator, each: BaselineComparison, samples: int, confidence: float) -> str:
    """Return the sentence about one baseline that follows its name."""
    told = baseline_description(t, each.baseline, each.meaning)
    meaning = t("in brackets", what=told) if told else ""
    if each.standing == "level with":
        return t("verdict.level", meaning=meaning, metric=each.metric, value=format_number(each.model))
    sure = ""
    if each.low is not None and each.high is not None:
        bounds = {"low": each.low, "high": each.high}
        sure = t("verdict.sure", interval=_interval_text(t, bounds, confidence, sign=True))
    return t(
        "verdict",
        meaning=meaning,
        metric=each.metric,
        model=format_number(each.model),
        other=format_number(each.other),
        gap=_gap_text(t, each, samples),
        sure=sure,
        chance=t("may be chance") if _may_be_chance(each, samples) else "",
    )


def _gap_text(t: Translator, each: BaselineComparison, samples: int) -> str:
    """Describe a difference in the usual terms of the metric."""
    if each.metric == "perplexity":
        side = "below" if each.model < each.other else "above"
        return t(f"gap.{side}", share=f"{each.gap / each.other:.1%}")
    by = t(f"gap.{'better' if each.standing == 'ahead of' else 'worse'}", gap=format_number(each.gap))
    if each.metric != "accuracy" or not samples:
        return by
    return by + t("gap.samples", count=f"{round(each.gap * samples):,}", samples=f"{samples:,}")


def _may_be_chance(each: BaselineComparison, samples: int) -> bool:
    """Return whether the paired difference's interval contains 0.

    Without an interval: whether two accuracies differ by less than two standard errors, which errs towards doubt; other
    metrics, by little.
    """
    if each.low is not None and each.high is not None:
        return each.low <= 0 <= each.high
    if each.metric != "accuracy":
        return each.gap < SMALL_GAP * abs(each.other)
    variance = sum(share * (1 - share) for share in (each.model, each.other)) / max(1, samples)
    return each.gap < 2 * math.sqrt(variance)


def _worth_sentence(t: Translator, comparisons: list[BaselineComparison], samples: int) -> str:
    """Say whether the model earns its cost, if every comparison has an interval."""
    if not comparisons or any(each.low is None for each in comparisons):
        return ""
    rivals = [e.baseline for e in comparisons if e.standing != "ahead of" or _may_be_chance(e, samples)]
    return t("worth.no", baselines=t.join(rivals)) if rivals else t("worth.yes")


def _alarm(t: Translator, evaluation: Json) -> str:
    """Say that the threshold leaves a class without an answer, where it does."""
    decision = evaluation.get("decision") or {}
    used = decision.get("threshold") or {}
    if "never_answered" not in used:
        return ""
    where = t(f"fitted.{decision.get('fitted_on', 'validation')}")
    told = {"label": shorten(used["never_answered"], 40), "positive": shorten(used["positive"], 40)}
    return t("thresholds.silent", value=format_number(used["value"]), where=where, **told)


def _advice(t: Translator, each: BaselineComparison, samples: int) -> str:
    """Advise if the model is not clearly ahead of a baseline."""
    told: dict[str, Any] = {"standing": t(f"standing.{each.standing}"), "baseline": each.baseline}
    if each.standing == "ahead of":
        return t("advice.chance", **told) if _may_be_chance(each, samples) else ""
    if not each.trivial:
        return t("advice.simpler", **told)
    told_apart = each.low is None or each.high is None or each.low > 0 or each.high < 0
    return t("advice.trivial" if told_apart else "advice.untold", **told)


def _caution(t: Translator, profile: Json, evaluation: Json) -> str:
    samples = _judged_rows(profile, evaluation)
    if not samples:
        return ""
    told = [t("caution.size", samples=t.count(samples, _noun(profile)))]
    if main_metric(evaluation) == "accuracy":
        told.append(t("caution.one", share=f"{1 / samples:.2g}"))
    if samples < FEW_SAMPLES and not get_task(profile["task"]).counts_tokens:
        told.append(t("caution.few"))
    return t.join_sentences(told)
