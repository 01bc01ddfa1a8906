"""The report's sentences, in plain words and without flattery; and numbers as the page writes them.

In: the profile and the evaluation as they were read. Out: strings, not yet escaped for HTML.
"""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from danlu.core.console import duration
from danlu.report.learning import Learning
from danlu.report.readings import Comparison, Confused, Json, Kept, compare, main_metric, main_value

FEW = 100  # test samples below which a figure says little
SMALL = 0.01  # of a figure: two errors or perplexities that differ by less are not told apart with confidence
NOUNS = {
    "tabular": "row",
    "image": "image",
    "text": "text",
    "corpus": "document",
    "chat": "conversation",
    "preference": "pair",
}
MEASURED_OTHERWISE = (
    "The two are not measured alike: training loss is of the weights as they were during each step, and with dropout, "
    "augmentation, weights of classes and label smoothing where the recipe has them."
)
LESS_BY_HEART = (
    "What helps: more data, data.augment, more model.dropout, a higher training.optimizer.weight_decay, "
    "training.label_smoothing, training.average: ema, or a smaller model"
)
SUGGESTIONS: dict[str, str] = {
    "overfitting": "Validation loss rose from there to {last} while training loss went on falling to {fell}: the model "
    f"began to learn its training samples by heart (overfitting). {LESS_BY_HEART}; training.early_stopping saves the "
    "steps that were of no use.",
    "underfitting": "Both losses are near that of an answer that never looks at the input: the model has learned "
    "hardly anything (underfitting). What helps: a higher training.optimizer.lr, more epochs, a larger model, less "
    "dropout and weight decay, or inputs that tell more.",
    "unfinished": "Validation loss was still falling when training ended: the model had not learned all it can. More "
    "training.epochs, or a higher training.optimizer.lr, would probably improve it.",
    "wide gap": "Training loss lies far below validation loss, though the latter did not rise: the model knows its "
    f"training samples much better than others. {LESS_BY_HEART}.",
    "fine": "The curves show neither learning by heart nor an end that came too early.",
}
FEWER_LEAVES = "What helps: more data, fewer model.leaves, less model.depth, more model.leaf_rows or model.l2"
GROWN: dict[str, str] = {
    "overfitting": "Validation loss rose from there to {last} while training loss went on falling to {fell}: later "
    "rounds learned training samples by heart (overfitting), and are not kept. " + FEWER_LEAVES + ".",
    "underfitting": "Both losses are near that of an answer that never looks at the input: the model has learned "
    "hardly anything (underfitting). What helps: inputs that tell more, more rounds, or fewer model.leaf_rows.",
    "unfinished": "Validation loss was still falling when growing ended: more rounds, or a higher "
    "model.learning_rate, would probably improve it.",
    "wide gap": "Training loss lies far below validation loss, though the latter did not rise: the model knows its "
    "training samples much better than others. " + FEWER_LEAVES + ".",
    "fine": SUGGESTIONS["fine"],
}
PREFER_SIMPLER = "the simpler model should be preferred unless there is another reason for this one"


@dataclass(frozen=True)
class Verdict:
    """One baseline's comparison: the standing in a word, and the sentence about it."""

    standing: str
    baseline: str
    sentence: str


@dataclass(frozen=True)
class Summary:
    """The first section of the page.

    Attributes:
        opening: what was predicted, from how much, and how well.
        verdicts: one a baseline.
        advice: what a reader should do where a simpler model is as good; empty otherwise.
        caution: how much the test split can tell.
    """

    opening: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    advice: tuple[str, ...]
    caution: str


def summarise(profile: Json, evaluation: Json) -> Summary:
    """Say what was predicted, how well, and whether a simpler model would have done."""
    opening = [_predicted(profile), _parts(profile)]
    if not evaluation:
        return Summary((*opening, "The model has not been evaluated yet: `danlu evaluate` does it."), (), (), "")
    comparisons = compare(evaluation)
    samples = int(profile["splits"].get("test", 0))
    opening.append(_achieved(profile, evaluation))
    verdicts = tuple(Verdict(each.standing, each.baseline, _verdict(each, samples)) for each in comparisons)
    advice = tuple(filter(None, (_advice(each, samples) for each in comparisons)))
    if not comparisons:
        opening.append("There is no baseline to compare it with, so this figure alone does not say whether it is good.")
    return Summary(tuple(opening), verdicts, advice, _caution(profile, evaluation))


def number(value: Any) -> str:
    """A number as the page writes it: four significant digits, thousands apart; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 row`, `1,797 images`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def short(text: Any, most: int = 24) -> str:
    """A label that fits a figure or a table's cell: one line of printable characters, cut where it is long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def confusions(pairs: list[Confused]) -> str:
    """The commonest mistakes in a sentence."""
    if not pairs:
        return "No sample of the test split was taken for another class."
    told = [f"“{short(p.truth)}” taken for “{short(p.answer)}” ({counted(p.count, 'time')})" for p in pairs[:3]]
    return f"Most often confused: {'; '.join(told)}."


def kept(step: Kept | None) -> str:
    """Which weights the model has, and why."""
    if step is None:
        return "Nothing was validated during training."
    metric = step.metric.removeprefix("validation/")
    return f"The weights of step {step.step:,} were kept, where validation {metric} was best ({number(step.value)})."


def learned(how: Learning | None) -> tuple[str, ...]:
    """What the curves suggest, and what to try; nothing where they say nothing."""
    if how is None:
        return ()
    unit = "round" if how.grown else "step"
    gap = (
        f"At {unit} {how.best_step:,}, where validation loss was least, it was {number(how.validation)}, and training "
        f"loss {number(how.training)}"
    )
    away = how.validation - how.training
    told = f"{gap}: a gap of {number(away)}." if away > 0 else f"{gap}, so there was no gap."
    advice = (GROWN if how.grown else SUGGESTIONS)[how.sign]
    advice = advice.format(last=number(how.last_validation), fell=number(how.last_training))
    return told if how.grown else f"{told} {MEASURED_OTHERWISE}", advice


def throughput(lines: list[Json]) -> str:
    """How fast training went, in a sentence; nothing where that was not measured."""
    if not lines:
        return ""
    rate = statistics.median(line["samples_per_s"] for line in lines)
    told = f"Training took {duration(lines[-1]['seconds'])} without validation, at {number(rate)} samples a second"
    if "tokens_per_s" in lines[-1]:
        told += f" ({number(statistics.median(line['tokens_per_s'] for line in lines))} tokens)"
    peak = max((line.get("peak_bytes", 0) for line in lines), default=0)
    told += f"; {peak / 1e9:.2f} GB of memory at its peak" if peak else ""
    if "mfu" in lines[-1]:
        told += f"; {statistics.median(line['mfu'] for line in lines):.0%} of what the card could compute"
    return f"{told}."


def _predicted(profile: Json) -> str:
    kind, target = profile["kind"], profile["target"]
    if profile["task"] == "preference":
        return "The model learned which of two answers to a prompt is preferred."
    if kind == "chat":
        return "The model predicts the next token of what the assistant says."
    if profile["task"] == "language-modelling" or target is None:
        return "The model predicts the next token of a text."
    used = sum(bool(column["used"]) for column in profile["columns"])
    given = {"image": "images", "text": "texts"}.get(kind) or counted(used, "column")
    what = counted(len(target["classes"]), "class", "classes") if "classes" in target else "a number"
    return f"The model predicts “{short(target['name'], 80)}” ({what}) from {given}."


def _parts(profile: Json) -> str:
    noun, parts = NOUNS.get(profile["kind"], "sample"), profile["splits"]
    train, validation, test = (int(parts.get(name, 0)) for name in ("train", "validation", "test"))
    return (
        f"Of {counted(int(profile['rows']), noun)} it learned from {train:,}; {validation:,} chose which weights were "
        f"kept; {test:,} were held back for the test."
    )


def _achieved(profile: Json, evaluation: Json) -> str:
    metric, value = main_metric(evaluation), main_value(evaluation)
    if value is None:
        return f"Its {metric} is undefined on the test split."
    told = f"On the test split its {metric} is {number(value)}"
    confusion = evaluation["test"].get("confusion")
    if confusion is None or metric != "accuracy":
        return f"{told}."
    right = sum(row[index] for index, row in enumerate(confusion["counts"]))
    samples = counted(sum(map(sum, confusion["counts"])), NOUNS.get(profile["kind"], "sample"))
    return f"{told}: {right:,} of {samples} answered rightly."


def _verdict(each: Comparison, samples: int) -> str:
    """The sentence about one baseline, after its name."""
    meaning = f" ({each.meaning})" if each.meaning else ""
    if each.standing == "level with":
        return f"{meaning}: both have {each.metric} {number(each.model)}."
    figures = f"{meaning}: {each.metric} {number(each.model)} against {number(each.other)}, {_gap(each, samples)}"
    return f"{figures}{'; so small a difference may be chance' if _may_be_chance(each, samples) else ''}."


def _gap(each: Comparison, samples: int) -> str:
    """How far apart the two are, in the terms that the metric is thought of."""
    if each.metric == "perplexity":
        return f"{each.gap / each.other:.1%} {'below' if each.model < each.other else 'above'} the baseline's"
    by = f"{'better' if each.standing == 'ahead of' else 'worse'} by {number(each.gap)}"
    if each.metric != "accuracy" or not samples:
        return by
    return f"{by}, which is {round(each.gap * samples):,} of {samples:,} test samples"


def _may_be_chance(each: Comparison, samples: int) -> bool:
    """Whether the interval of the difference, on the same samples, has 0 within.

    Without one: whether two accuracies differ by less than two standard errors, which errs towards doubt; other
    metrics, by little.
    """
    if each.low is not None and each.high is not None:
        return each.low <= 0 <= each.high
    if each.metric != "accuracy":
        return each.gap < SMALL * abs(each.other)
    variance = sum(share * (1 - share) for share in (each.model, each.other)) / max(1, samples)
    return each.gap < 2 * math.sqrt(variance)


def _advice(each: Comparison, samples: int) -> str:
    """What follows from not being clearly ahead of a baseline."""
    stands = f"The model is {each.standing} {each.baseline}"
    if each.standing == "ahead of":
        lead = f"{stands} by so little that it may be chance: the simpler model does about as well."
        return lead if _may_be_chance(each, samples) else ""
    if each.trivial:
        return f"{stands}, which never looks at the input: it has learned nothing that is of use on the test split."
    return f"{stands} on the test split: {PREFER_SIMPLER}."


def _caution(profile: Json, evaluation: Json) -> str:
    samples, noun = int(profile["splits"].get("test", 0)), NOUNS.get(profile["kind"], "sample")
    if not samples:
        return ""
    told = [f"The test split has {counted(samples, noun)}."]
    if main_metric(evaluation) == "accuracy":
        told.append(f"One more or one fewer answered rightly moves accuracy by {1 / samples:.2g}.")
    if samples < FEW and profile["task"] != "language-modelling":
        told.append("With so few, another split of the same data may give quite other figures.")
    return " ".join(told)
