"""What of its texts a model will read, for `danlu check`: one row as it reads it, and the share that is cut.

Imports no torch.
"""

from dataclasses import dataclass, replace
from typing import Any

from danlu.data.audit.finding import Finding, make_finding
from danlu.data.splits import TrainSplit, subsample
from danlu.data.text.losses_of_text import UNKNOWN_SHARE
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.experiment.data_context import DataContext, fit_preprocessing

MOST_SHOWN_FROM = 1000  # rows of which a tokenizer is made to show one
MOST_MEASURED = 10_000  # rows that are tokenized to tell what is cut


@dataclass(frozen=True)
class ReadTexts:
    """Hold what is told of a model's texts; nothing of other data.

    Attributes:
        shown: of each text of the first training row: `name`, `parts` (`text`, whether it is `learned`), and the
            numbers of `tokens`, of `learned` and of `cut` ones. A tokenizer that training makes is made of fewer rows
            here, so numbers may differ.
        findings: texts that are cut and words that the tokenizer does not know, where the recipe names a tokenizer.
    """

    shown: tuple[dict[str, Any], ...] = ()
    findings: tuple[Finding, ...] = ()


def read_texts(context: DataContext) -> ReadTexts:
    """Tokenize some training rows as training will, and say what the model reads of them."""
    kind, train = context.dataset.kind, context.splits.train
    if not issubclass(kind.preprocessor, TokenizingPreprocessor):
        return ReadTexts()
    if not kind.shows_a_row:
        preprocessor = _by_files(context, kind.preprocessor)
        return ReadTexts() if preprocessor is None else ReadTexts((), _find_losses(preprocessor, context))
    few = TrainSplit(train.rows[:MOST_SHOWN_FROM], train.table)
    fitted = fit_preprocessing(replace(context, splits=replace(context.splits, train=few))).preprocessor
    assert isinstance(fitted, TokenizingPreprocessor)
    shown = fitted.shown_row(few.columns(*fitted.columns), context.dataset.origin)
    known = context.recipe.training.from_run is not None or context.model.data_requirements().tokenizer is not None
    return ReadTexts(tuple(shown), _find_losses(fitted, context) if known else ())


def _by_files(context: DataContext, made: type[TokenizingPreprocessor]) -> TokenizingPreprocessor | None:
    """Return what tokenizes as the model's folder says; None where its files do not tell."""
    section = context.recipe.data
    if context.recipe.training.from_run is not None:
        fitted = fit_preprocessing(context).preprocessor
        return fitted if isinstance(fitted, TokenizingPreprocessor) else None
    known = context.model.requirements_by_files()
    if known is None or known.tokenizer is None:
        return None
    longest, tokenizer = made.longest_text(section, known), made.reading(known.tokenizer, section)
    return made(column=context.dataset.content, longest=longest, tokenizer=tokenizer)


def _find_losses(preprocessor: TokenizingPreprocessor, context: DataContext) -> tuple[Finding, ...]:
    some = subsample(context.splits.train, MOST_MEASURED)
    losses = preprocessor.measure_losses(some.columns(*preprocessor.columns), context.dataset.origin)
    found: list[Finding] = []
    if losses.cut:
        share = losses.cut / losses.rows
        found.append(
            make_finding(
                "cut-texts",
                "note",
                cut=losses.cut,
                rows=losses.rows,
                share=share,
                lost=losses.lost_tokens,
                longest=preprocessor.longest,
            )
        )
    if losses.unknown > UNKNOWN_SHARE:
        token = preprocessor.tokenizer.special["unk_token"]
        found.append(make_finding("unknown-tokens", "warning", share=losses.unknown, token=token))
    return tuple(found)
