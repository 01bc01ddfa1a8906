"""A tokenizer of sentencepiece's kind as llama.cpp has it: pieces with scores in place of merges.

llama.cpp joins, of all neighbours that are a piece together, those of the highest score. Merges say the same where
each way of making a piece is one of them and those of one piece stand together, as in vocabularies of sentencepiece.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from danlu.errors import ArgumentError
from danlu.exporters.gguf.token_kinds import BYTE, UNKNOWN
from danlu.models.answer_folding import Step

SPACE = "▁"  # sentencepiece's
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
ESCAPING = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
LEADING = "leading-space"  # what `outside` calls texts that begin with a space


@dataclass(frozen=True)
class Pieces:
    """Hold what a file says of a vocabulary of pieces.

    Attributes:
        scores: of each token, by its id.
        kinds: of the tokens that are no plain pieces, by their ids.
        begins_with_space: whether a space is put before a text and after a token of control.
        outside: what the file cannot say.
    """

    scores: dict[int, float]
    kinds: dict[int, int]
    begins_with_space: bool
    outside: tuple[Step, ...] = ()


def is_of_pieces(told: dict[str, Any]) -> bool:
    """Return whether a tokenizer merges characters, with bytes for unknown ones."""
    return told["model"].get("type") == "BPE" and bool(told["model"].get("byte_fallback"))


def pieces_of(told: dict[str, Any], has_template: bool) -> Pieces:
    """Return a tokenizer's pieces.

    Args:
        told: its JSON, as `is_of_pieces` takes it.
        has_template: whether conversations are written with it, tokens of control between their texts.

    Raises:
        ArgumentError: llama.cpp would cut texts into other tokens.
    """
    model = told["model"]
    vocabulary: dict[str, int] = model["vocab"]
    absent = next((byte for byte in BYTES if byte not in vocabulary), None)
    if absent is not None:
        raise _refusal(f"its vocabulary has no token {absent}, by which llama.cpp writes what no piece holds")
    if model.get("ignore_merges") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refusal("its merges have marks of their own")
    special = {token["content"] for token in told["added_tokens"]}
    scores = _scores(vocabulary, model["merges"], special)
    kinds = dict.fromkeys((vocabulary[byte] for byte in BYTES), BYTE)
    unknown = model.get("unk_token") or "<unk>"
    if unknown in vocabulary:
        kinds[vocabulary[unknown]] = UNKNOWN
    begins, outside = _spaces(told, has_template)
    return Pieces(scores, kinds, begins, outside)


def _scores(vocabulary: dict[str, int], merges: list[Any], special: set[str]) -> dict[int, float]:
    """Return each token's score: the earlier its merges, the higher.

    Raises:
        ArgumentError: no scores say what these merges do.
    """
    ranks: dict[str, list[int]] = {}
    pairs = [tuple(one.split(" ", 1)) if isinstance(one, str) else tuple(one) for one in merges]
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault(left + right, []).append(rank)
    known = set(pairs)
    for piece in vocabulary:
        if piece in special or piece in BYTES:
            continue
        made = ranks.get(piece, [])
        if made and made[-1] - made[0] + 1 != len(made):
            raise _refusal(f"between its merges to {piece!r} stand others, which no score says")
        absent = next((pair for pair in _splits(piece, vocabulary, special) if pair not in known), None)
        if absent is not None:
            raise _refusal(f"it does not join {absent[0]!r} and {absent[1]!r}, which llama.cpp does")
    return {place: -float(ranks[piece][0]) if piece in ranks else 0.0 for piece, place in vocabulary.items()}


def _splits(piece: str, vocabulary: dict[str, int], special: set[str]) -> Iterator[tuple[str, str]]:
    for at in range(1, len(piece)):
        pair = piece[:at], piece[at:]
        if all(part in vocabulary and part not in special for part in pair):
            yield pair


def _spaces(told: dict[str, Any], has_template: bool) -> tuple[bool, tuple[Step, ...]]:
    """Return whether texts begin with a space, and what the file cannot say of it.

    Raises:
        ArgumentError: llama.cpp writes spaces otherwise.
    """
    normalizer, cut = told.get("normalizer"), told.get("pre_tokenizer")
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    if cut is None:
        if steps == [ESCAPING]:
            return False, ()
        if steps == [{"type": "Prepend", "prepend": SPACE}, ESCAPING]:
            return True, ()
    elif not steps and cut.get("type") == "Metaspace" and cut.get("replacement") == SPACE:
        scheme, crosses = cut.get("prepend_scheme"), (SPACE in piece[1:] for piece in told["model"]["vocab"])
        if cut.get("split", True) and any(crosses):
            raise _refusal("it cuts texts at spaces, and llama.cpp joins pieces across them")
        if scheme == "never":
            return False, ()
        if scheme == "first" and has_template:
            raise _refusal(
                "it puts a space before a text's first word alone (Metaspace, first), and llama.cpp after each token "
                "of control, too, which changes how conversations begin"
            )
        where = "before a text that begins with one, too"
        if scheme == "first":
            where += ", and after a token of control within a text"
        return True, (Step(LEADING, f"llama.cpp puts a space {where}"),)
    raise _refusal("it normalizes texts, or cuts them into words, in a way that llama.cpp does not have")


def _refusal(why: str) -> ArgumentError:
    return ArgumentError(
        f"--to gguf: llama.cpp cannot hold this tokenizer of sentencepiece's kind: {why}", code="DL409"
    )
