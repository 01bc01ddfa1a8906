"""GGUF files (llama.cpp's format): converted once into a cached transformers folder.

A GGUF file holds weights of a few bits each; here they are dequantized to fp32. Training changes weights by less than
one quantization step, so they cannot stay quantized.
"""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.core.console import info
from danlu.core.imports import patch_torchvision, require_extra, silence_libraries
from danlu.data.text.stray_tokens import json_without_tokens
from danlu.errors import DataError
from danlu.models.text.gguf_rope import DIVISORS, scaled_rotation

if TYPE_CHECKING:
    from gguf import GGUFReader

VERSION = 6
PIECES = "llama"  # the kind of a vocabulary of sentencepiece
# As in llama.cpp for files that do not say it: the kinds of tokenizers that begin a text with BOS, and among those of
# merges (gpt2) the kinds of words.
BEGINNING_MODELS = (PIECES, "bert")
BEGINNING_WORDS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
MAGIC = b"GGUF"
BIASES = {"attention_bias": "attn_q", "mlp_bias": "ffn_up"}  # setting of transformers -> a layer that has one then


def find_gguf_file(path: Path) -> Path | None:
    """Return a path's GGUF file: itself, or the only one in a folder without config.json.

    Raises:
        DataError: the folder holds several.
    """
    if path.suffix.lower() == ".gguf":
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:4])
        raise DataError(f"model.name: {path} holds {len(found)} GGUF files ({names}); name one of them", code="DL201")
    return found[0] if found else None


def convert_gguf(file: Path) -> Path:
    """Convert a GGUF file to a transformers folder: config, weights, tokenizer with chat template.

    Raises:
        DataError: the file is missing, is not GGUF, or has an architecture that transformers cannot read.
        MissingExtra: the packages that read it are not installed.
    """
    if not file.is_file():
        raise DataError(f"model.name: {file}: no such file", code="DL201")
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise DataError(f"model.name: {file} does not begin like a GGUF file; is it another format?", code="DL272")
    require_extra("text", f"model.name: hf:{file}")
    require_extra("gguf", f"model.name: hf:{file}")
    return cached_dir("gguf", [VERSION, file_identity(file)], lambda folder: _convert(file, folder))


def _convert(file: Path, folder: Path) -> None:
    info(f"converting {file.name}; the result is cached")
    strays = unpack_gguf(file, folder)
    if strays:
        info(
            f"{file.name}: {', '.join(strays)}, which transformers adds to the tokenizer, is no token of the file; "
            "it is left out, and a text that holds it is read as words"
        )


def unpack_gguf(file: Path, folder: Path) -> list[str]:
    """Write a GGUF file as a transformers folder: config, fp32 weights, tokenizer.

    Returns:
        tokens that transformers adds to the file's, and that were left out.

    Raises:
        DataError: transformers cannot read the file.
    """
    patch_torchvision()
    import torch
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with silence_libraries(), redirect_stderr(StringIO()):  # it draws its own progress bar
            tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, **given)
            held = GGUFReader(file)  # once: it takes seconds where there are many tokens
            sizes = _completed(AutoConfig.from_pretrained(file.parent, **given), held, file.name)
            model: Any = AutoModelForCausalLM.from_pretrained(file.parent, config=sizes, dtype=torch.float32, **given)
    except (ValueError, KeyError, OSError, RuntimeError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"model.name: {file}: transformers cannot read this GGUF file: {first}", code="DL272"
        ) from error
    if tokenizer.bos_token is not None:  # transformers leaves out what the file says of it
        tokenizer.add_bos_token = _begins_with_bos(held)
    config = model.config
    if hasattr(config, "quantization_config"):  # describes the quantized weights of the file
        del config.quantization_config
    config.save_pretrained(folder)
    strays = _strays(tokenizer, held, config.vocab_size)
    _as_it_reads(tokenizer, strays, held).save_pretrained(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    tied = {value.data_ptr(): name for name, value in reversed(weights.items())}
    save_file({name: weights[name] for name in tied.values()}, folder / "model.safetensors", {"format": "pt"})
    return sorted(strays)


def _completed(config: Any, held: "GGUFReader", name: str) -> Any:
    """Return a config with what transformers leaves out of the file.

    GPT-2's sizes, the width of a head, biases, scaled positions.
    """
    if config.model_type == "gpt2":
        config.n_positions = getattr(config, "n_ctx", config.n_positions)
        config.n_inner = getattr(config, "feed_forward_length", config.n_inner)
        return config
    said = _fields(held)
    width = said(f"{said('general.architecture')}.attention.key_length")
    if width is not None and hasattr(config, "head_dim"):
        config.head_dim = int(width)
    tensors: dict[str, Any] = {tensor.name: tensor for tensor in held.tensors}
    for setting, layer in BIASES.items():
        if hasattr(config, setting):
            setattr(config, setting, f"blk.0.{layer}.bias" in tensors)
    turning = getattr(config, "rope_parameters", None)
    if turning is not None:
        divisors = np.asarray(tensors[DIVISORS].data) if DIVISORS in tensors else None
        config.rope_parameters = scaled_rotation(said, divisors, turning["rope_theta"], name) or turning
    return config


def _strays(tokenizer: Any, held: "GGUFReader", rows: int) -> set[str]:
    """Return the tokens of the tokenizer that file and weights do not have.

    transformers adds the default tokens of the tokenizer's class, such as <|endoftext|>.
    """
    own = set(_fields(held)("tokenizer.ggml.tokens") or ())
    return (
        {token for token, place in tokenizer.get_vocab().items() if place >= rows and token not in own}
        if own
        else set()
    )


def _as_it_reads(tokenizer: Any, strays: set[str], held: "GGUFReader") -> Any:
    """Return the tokenizer without strays, as one that is read again as it is.

    Classes such as Qwen2Tokenizer put their own way of cutting words in the place of the file's when they are loaded.
    LlamaTokenizer puts no space before a text that begins with one, nor after a token of control, whatever the file
    says; llama.cpp does.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    special = {name: token for name, token in tokenizer.special_tokens_map.items() if token not in strays}
    told = tokenizer.backend_tokenizer.to_str()
    reader: Any = Tokenizer.from_str(json_without_tokens(told, strays) if strays else told)
    said = _fields(held)
    if said("tokenizer.ggml.model") == PIECES:
        _write_spaces_of_pieces(reader, begins=said("tokenizer.ggml.add_space_prefix") is not False)
    found: Any = PreTrainedTokenizerFast(tokenizer_object=reader, **special)  # type: ignore[no-untyped-call]
    found.chat_template = tokenizer.chat_template
    return found


def _write_spaces_of_pieces(reader: Any, begins: bool) -> None:
    """Let a tokenizer write spaces as llama.cpp does in vocabularies of sentencepiece.

    Args:
        reader: of tokenizers.
        begins: whether a space stands before each text between tokens of control.
    """
    from tokenizers import decoders, normalizers

    before = [normalizers.Prepend("▁")] if begins else []
    reader.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    reader.pre_tokenizer = None
    after = [decoders.Strip(content=" ", left=1)] if begins else []
    reader.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after])


def _fields(held: "GGUFReader") -> Callable[[str], Any]:
    """Return what reads a field of the file by its name, or None."""
    fields: Any = held.fields
    return lambda name: fields[name].contents() if name in fields else None


def _begins_with_bos(held: "GGUFReader") -> bool:
    """Return whether the file's tokenizer puts BOS before a text."""
    said = _fields(held)
    if (told := said("tokenizer.ggml.add_bos_token")) is not None:
        return bool(told)
    model, words = said("tokenizer.ggml.model"), said("tokenizer.ggml.pre")
    return model in BEGINNING_MODELS or (model == "gpt2" and words in BEGINNING_WORDS)
