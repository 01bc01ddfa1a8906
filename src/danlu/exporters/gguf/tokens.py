"""A bundle's tokenizer as llama.cpp has it: tokens with their kinds, merges or scores, special tokens, chat template.

Of byte-level merges llama.cpp knows by name how a text is cut into words before; a tokenizer that cuts otherwise is
refused. Those of sentencepiece's kind are cut nowhere.
"""

import json
from typing import Any

from danlu.data.descriptors import TokenizerFile
from danlu.data.text.chat_template import exported_template
from danlu.errors import ArgumentError
from danlu.exporters.gguf.sentencepiece import Pieces, is_of_pieces, pieces_of
from danlu.exporters.gguf.token_kinds import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from danlu.models.answer_folding import Step

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How a text is cut into words -> llama.cpp's name for it (llama-vocab.cpp).
WORDS = {
    "bytes": "gpt-2",
    "digits, bytes": "smollm",
    f"{_ENDINGS}\\p{{N}}{{1,3}}{_REST}": "llama-bpe",
    f"{_ENDINGS}\\p{{N}}{_REST}": "qwen2",
}


def add_tokenizer(writer: Any, tokenizer: TokenizerFile, rows: int, leads: bool) -> tuple[Step, ...]:
    """Write a tokenizer, and return what the file cannot say.

    Args:
        writer: gguf's.
        tokenizer: of the bundle.
        rows: of the network's embedding; those without a token get a name that no text has.
        leads: whether plain texts follow `tokenizer.lead`, as documents did in training.

    Raises:
        ArgumentError: llama.cpp has no such tokenizer.
    """
    told, reader = json.loads(tokenizer.json_text), tokenizer.open()
    pieces = pieces_of(told, tokenizer.chat_template is not None) if is_of_pieces(told) else None
    kinds = {token["id"]: CONTROL if token["special"] else USER_DEFINED for token in told["added_tokens"]}
    kinds |= {} if pieces is None else pieces.kinds
    by_place = {place: token for token, place in reader.get_vocab(with_added_tokens=True).items()}
    writer.add_tokenizer_model("gpt2" if pieces is None else "llama")
    writer.add_tokenizer_pre(_name_of_words(told) if pieces is None else "default")
    writer.add_token_list([by_place.get(place, f"[PAD{place}]") for place in range(rows)])
    writer.add_token_types([kinds.get(p, NORMAL) if p in by_place else UNUSED for p in range(rows)])
    if pieces is None:
        writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in told["model"]["merges"]])
    else:
        _add_pieces(writer, pieces, rows)
    _add_special(writer, tokenizer, leads)
    template = exported_template(tokenizer)
    if template is not None:
        writer.add_chat_template(template)
    return _outside(told, tokenizer, pieces)


def _add_pieces(writer: Any, pieces: Pieces, rows: int) -> None:
    writer.add_token_scores([pieces.scores.get(place, 0.0) for place in range(rows)])
    writer.add_add_space_prefix(pieces.begins_with_space)
    writer.add_remove_extra_whitespaces(False)
    unknown = next((place for place, type_ in pieces.kinds.items() if type_ == UNKNOWN), None)
    if unknown is not None:
        writer.add_unk_token_id(unknown)


def begins_texts(tokenizer: TokenizerFile, leads: bool) -> tuple[int, ...]:
    """Return what the file's reader puts before a text."""
    return tokenizer.lead if leads else tokenizer.begins


def _add_special(writer: Any, tokenizer: TokenizerFile, leads: bool) -> None:
    before, own = begins_texts(tokenizer, leads), tokenizer.special.get("bos_token")
    if len(before) > 1:
        raise ArgumentError(
            f"--to gguf: the tokenizer begins texts with {len(before)} tokens, and llama.cpp with one at most",
            code="DL409",
        )
    place = before[0] if before else None if own is None else tokenizer.open().token_to_id(own)
    if place is not None:
        writer.add_bos_token_id(place)
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(False)
    writer.add_eos_token_id(tokenizer.end)
    writer.add_pad_token_id(tokenizer.pad)
    turns = [stop for stop in tokenizer.stops if stop != tokenizer.end]
    if turns:
        writer.add_eot_token_id(turns[0])


def _outside(told: dict[str, Any], tokenizer: TokenizerFile, pieces: Pieces | None) -> tuple[Step, ...]:
    found = [] if pieces is None else list(pieces.outside)
    if pieces is None and told.get("normalizer") is not None:
        found.append(Step("unicode-normalization", told["normalizer"]["type"]))
    others = [stop for stop in tokenizer.stops if stop != tokenizer.end][1:]
    if others:
        found.append(Step("stops", others))
    return tuple(found)


def _name_of_words(told: dict[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer cuts a text into words.

    Raises:
        ArgumentError: it has none.
    """
    model = told["model"].get("type")
    if model != "BPE":
        raise ArgumentError(
            f"--to gguf: tokenizers of merges are written, and this one is {model}, which llama.cpp and transformers "
            "read of T5 alone",
            code="DL409",
        )
    normalizer = told.get("normalizer")
    cut = _cut(told.get("pre_tokenizer") or {})
    if cut not in WORDS or (normalizer is not None and normalizer["type"] != "NFC"):
        raise ArgumentError(
            "--to gguf: llama.cpp has no name for how this tokenizer cuts a text into words "
            f"({json.dumps(told.get('pre_tokenizer'))[:160]}); it knows {', '.join(WORDS.values())}",
            code="DL409",
        )
    return WORDS[cut]


def _cut(step: dict[str, Any]) -> str | None:
    """Return a key of WORDS, if a pre-tokenizer is like one."""
    steps = step["pretokenizers"] if step.get("type") == "Sequence" else [step]
    *first, last = steps
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if last.get("use_regex", True):
        digits = [{"type": "Digits", "individual_digits": True}]
        return "bytes" if not first else "digits, bytes" if first == digits else None
    if len(first) != 1 or first[0].get("type") != "Split" or first[0].get("invert"):
        return None
    pattern = first[0]["pattern"].get("Regex")
    return pattern if first[0].get("behavior") == "Isolated" else None
