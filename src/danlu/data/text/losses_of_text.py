"""What of texts a model does not read: those that are cut, and words that the tokenizer does not know."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.core.console import info
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.text.tokenize import RaggedTokens, plain_ids, tokenize_alone

UNKNOWN_SHARE = 0.01  # of tokens; more are warned of
SHOWN = 6  # tokens in a message


def log_cut_texts(
    tokenizer: TokenizerFile, texts: pl.Series, tokens: RaggedTokens, longest: int, place: Origin
) -> None:
    """Say how many texts are longer than the maximum length and were cut.

    Args:
        tokens: of the texts, at most `longest` of each.
    """
    full = np.flatnonzero(np.diff(tokens.offsets) >= longest)
    if not len(full):
        return
    cut = int((np.diff(tokenize_alone(tokenizer, texts.gather(full), None).offsets) > longest).sum())
    if cut:
        info(
            f"{place.name}: {cut:,} of {len(tokens):,} texts ({cut / len(tokens):.0%}) are longer than {longest} "
            "tokens and were cut; data.sequence_length sets the limit"
        )


def log_cut_words(cut: int, count: int, longest: int, place: Origin) -> None:
    """Say how many words get no tag, because their sentences were cut."""
    if cut:
        info(
            f"{place.name}: {cut:,} of {count:,} words ({cut / count:.1%}) get no tag, because their sentences are "
            f"longer than {longest} tokens and were cut; data.sequence_length sets the limit"
        )


@dataclass(frozen=True)
class TextLosses:
    """Count what of some rows a model does not read.

    Attributes:
        rows: that were looked at.
        cut: rows with a text that is longer than the model reads.
        lost_tokens: share of all tokens that are cut off, in [0, 1].
        unknown: share of all tokens that stand for unknown words, in [0, 1].
    """

    rows: int
    cut: int
    lost_tokens: float
    unknown: float


def count_losses(tokenizer: TokenizerFile, texts: list[RaggedTokens], longest: int | None) -> TextLosses:
    """Count what a model does not read.

    Args:
        texts: marked tokens of each text that a row becomes, as many as rows.
        longest: tokens of a text that are read at most; None for all.
    """
    sizes = np.stack([np.diff(tokens.offsets) for tokens in texts])
    lost = np.maximum(sizes - (sizes.max(initial=0) if longest is None else longest), 0)
    marked = np.concatenate([np.asarray(tokens.ids) for tokens in texts])
    unknown = _unknown_share(tokenizer, plain_ids(marked))
    return TextLosses(
        rows=sizes.shape[1],
        cut=int((lost > 0).any(axis=0).sum()),
        lost_tokens=float(lost.sum() / max(1, sizes.sum())),
        unknown=unknown,
    )


def _unknown_share(tokenizer: TokenizerFile, ids: np.ndarray) -> float:
    name = tokenizer.special.get("unk_token")
    unknown = None if name is None else tokenizer.open().token_to_id(name)
    return float((ids == unknown).mean()) if unknown is not None and len(ids) else 0.0


def log_unknown_tokens(tokenizer: TokenizerFile, ids: np.ndarray, place: Origin) -> None:
    """Warn where more than 1 % of the tokens stand for unknown words.

    Args:
        ids: token ids, without marks.
    """
    share, name = _unknown_share(tokenizer, ids), tokenizer.special.get("unk_token")
    if share > UNKNOWN_SHARE:
        info(
            f"warning: {place.name}: {share:.1%} of the tokens are {name}: words that the model's tokenizer does not "
            "know, which it reads all alike; choose a model whose tokenizer knows this language or writing"
        )


def log_control_tokens(held: int, names: list[str], looked_at: int, origin: str) -> None:
    """Say how many texts hold tokens of control, which are read as words."""
    if held:
        shown = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        info(
            f"{origin}: {held:,} of {looked_at:,} texts hold tokens of the tokenizer ({shown}), which are read as "
            "words; data.special_tokens: tokens reads them as these tokens"
        )
