"""A bundle's tokenizer as transformers' files, which cut and pad as danlu does."""

from pathlib import Path
from typing import Any

from danlu.core.console import info
from danlu.data.descriptors import TokenizerFile
from danlu.data.specs import EncoderInputs
from danlu.data.text.chat_template import exported_template
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.data.text.special_tokens import control_tokens
from danlu.models.answer_folding import Step

PROBED = 2000  # tokens of which a text is made, to see whether two readers cut it alike


def write_tokenizer(preprocessor: TokenizingPreprocessor, folder: Path, positions: int | None) -> None:
    """Write a tokenizer for AutoTokenizer.

    Args:
        preprocessor: holds it.
        folder: of the model.
        positions: tokens that the network takes at most, if it says so.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = preprocessor.tokenizer
    given: dict[str, Any] = {**tokenizer.special, "pad_token": _pad_token(tokenizer)}
    longest = longest_input(preprocessor, positions)
    if longest is not None:
        given["model_max_length"] = longest
    written: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer.open(),
        # Texts are answered whole, so they are padded behind; a prompt is continued, so it is padded in front.
        padding_side="right" if _reads_whole_texts(preprocessor) else "left",
        truncation_side="right",
        # Others, such as token types, are not what the model was trained with, and some networks refuse them.
        model_input_names=["input_ids", "attention_mask"],
        **given,
    )
    written.chat_template = exported_template(tokenizer)
    written.save_pretrained(folder)


def log_parsing(tokenizer: TokenizerFile, reader: str = "transformers") -> None:
    """Say that the library reads tokens of control inside texts otherwise than the bundle."""
    names = control_tokens(tokenizer.json_text)
    if names and not tokenizer.parses_special:
        info(
            f"{reader} parses the tokenizer's tokens inside what people write, such as {names[0]}, as these "
            "tokens; danlu encodes them as words (data.special_tokens). Texts without them are read alike"
        )


def auto_tokenizer_steps(folder: Path, tokenizer: TokenizerFile) -> tuple[Step, ...]:
    """Return what to do where AutoTokenizer reads a written folder otherwise.

    Beside some networks (Qwen2 in transformers 5.23) it makes a class of its own rules, whatever the files say.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    readers: Any = (AutoTokenizer, PreTrainedTokenizerFast)
    by_network, by_files = (reader.from_pretrained(folder) for reader in readers)
    opened = tokenizer.open()  # once: it takes a second where there are many tokens
    known = " ".join(opened.decode([number]) for number in range(min(PROBED, len(by_files))))
    if by_network(known)["input_ids"] == by_files(known)["input_ids"]:
        return ()
    info(
        f"AutoTokenizer reads this folder by the rules of {type(by_network).__name__}, not by its tokenizer.json; open "
        "the tokenizer by PreTrainedTokenizerFast.from_pretrained, whose tokens the model was trained with"
    )
    return (Step("tokenizer-class", "PreTrainedTokenizerFast"),)


def longest_input(preprocessor: TokenizingPreprocessor, positions: int | None) -> int | None:
    """Return the tokens to which inputs are cut.

    Language models cut nothing, and have those that fit.
    """
    return preprocessor.longest if _reads_whole_texts(preprocessor) else positions


def tokenizing_steps(preprocessor: TokenizingPreprocessor) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """Return the preparation inside the files, and what their caller must ask for."""
    inside = ("tokenizer", *(("chat-template",) if preprocessor.tokenizer.chat_template is not None else ()))
    return inside, (Step("truncation", preprocessor.longest),) if _reads_whole_texts(preprocessor) else ()


def _reads_whole_texts(preprocessor: TokenizingPreprocessor) -> bool:
    """Return whether the model answers texts or words, rather than going on with them."""
    return isinstance(preprocessor.inputs, EncoderInputs)


def _pad_token(tokenizer: TokenizerFile) -> str | None:
    return tokenizer.open().id_to_token(tokenizer.pad)
