"""transformers' format: a folder with config, weights, tokenizer and chat template, for `from_pretrained`."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from danlu.core.console import info
from danlu.data.descriptors import TokenizerFile
from danlu.data.kind import DataKind
from danlu.data.text.chat_template import exported_template
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.models.predictor import Predictor
from danlu.models.text.options import Transformer
from danlu.tasks.base import Label


def write(predictor: Predictor, folder: Path) -> None:
    """Write a bundle's model as a folder for transformers' `from_pretrained`.

    AutoModelForCausalLM and AutoTokenizer give a language model's logits and conversations; a classifier loads by
    AutoModelForSequenceClassification with its labels. Of a pooled model only the encoder is written, as transformers
    has no class for its head.
    """
    model: Any = predictor.model
    network = model.network
    assert isinstance(predictor.preprocessor, TokenizingPreprocessor)
    tokenizer = predictor.preprocessor.tokenizer
    before = deepcopy(network.config)
    try:
        _complete(network, tokenizer, predictor.kind, getattr(predictor.target, "labels", None))
        network.save_pretrained(folder)
    finally:
        network.config = before
    if predictor.kind.generates_text and not tokenizer.parses_special:
        info(
            "transformers parses special tokens inside what people write, such as <|im_end|>, as these tokens; danlu "
            "encodes them as words (data.special_tokens). Texts without them are read alike"
        )
    _write_tokenizer(tokenizer, folder, getattr(before, "max_position_embeddings", None))


def read(predictor: Predictor, folder: Path) -> nn.Module | None:
    """Load a written folder by transformers; None for pooled models, whose head it lacks."""
    options = Transformer.of(predictor.options)
    if options.pooling is not None:
        return None
    written = Transformer(name=f"hf:{folder.resolve()}", allow_remote_code=options.allow_remote_code)
    return written.build(predictor.preprocessor.inputs, predictor.target.outputs)


def _complete(network: Any, tokenizer: TokenizerFile, kind: DataKind, labels: tuple[Label, ...] | None) -> None:
    """Complete a network's config with what it needs without danlu: labels, special tokens, generation settings."""
    from transformers import GenerationConfig

    config: Any = network.config
    config.pad_token_id = tokenizer.pad
    if labels is not None:
        config.id2label = {place: str(label) for place, label in enumerate(labels)}
        config.label2id = {str(label): place for place, label in enumerate(labels)}
    if not kind.generates_text:
        return
    ends = sorted({tokenizer.end, *tokenizer.stops})
    config.use_cache = True
    config.eos_token_id = ends if len(ends) > 1 else ends[0]
    begin = tokenizer.special.get("bos_token")
    config.bos_token_id = None if begin is None else tokenizer.open().token_to_id(begin)
    network.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, bos_token_id=config.bos_token_id
    )


def _write_tokenizer(tokenizer: TokenizerFile, folder: Path, longest: int | None) -> None:
    from transformers import PreTrainedTokenizerFast

    given: dict[str, Any] = dict(tokenizer.special)
    if longest is not None:
        given["model_max_length"] = longest
    written: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer.open(), **given
    )
    written.chat_template = exported_template(tokenizer)
    written.save_pretrained(folder)
