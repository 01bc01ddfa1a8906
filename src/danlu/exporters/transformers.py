"""transformers' format: a folder with config, weights, tokenizer and chat template, for `from_pretrained`."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from danlu.data.descriptors import TokenizerFile
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.exporters.tokenizer_files import auto_tokenizer_steps, log_parsing, tokenizing_steps, write_tokenizer
from danlu.models.answer_folding import AnswerSteps, Placement, answer_steps, foldable, folded_into, place_steps
from danlu.models.predictor import Predictor
from danlu.models.text.options import Transformer

# What the pipelines of transformers compute themselves from a classifier's scores.
PIPELINE_ACTIVATIONS = ("softmax", "sigmoid")


def write(predictor: Predictor, folder: Path) -> Placement:
    """Write a bundle's model as a folder for transformers' `from_pretrained`.

    AutoModelForCausalLM and AutoTokenizer give a language model's logits and conversations; a classifier, regressor or
    tagger loads by its own class with its labels, and by `pipeline`.
    """
    model: Any = predictor.model
    network = model.network
    assert isinstance(predictor.preprocessor, TokenizingPreprocessor)
    steps, tokenizer = answer_steps(predictor.target), predictor.preprocessor.tokenizer
    layer = getattr(model, "last_layer", None)
    folded = foldable(layer, steps.affine)
    before = deepcopy(network.config)
    try:
        _describe_answers(network.config, steps)
        network.config.pad_token_id = tokenizer.pad
        if predictor.kind.generates_text:
            _describe_generation(network, tokenizer)
        with folded_into(layer, folded):
            network.save_pretrained(folder)
    finally:
        network.config = before
    log_parsing(tokenizer)
    write_tokenizer(predictor.preprocessor, folder, getattr(before, "max_position_embeddings", None))
    prepared, left = tokenizing_steps(predictor.preprocessor)
    left = (*left, *auto_tokenizer_steps(folder, tokenizer))
    inside = (*prepared, *(("labels",) if steps.names else ()))
    return place_steps(steps, folded, steps.activation in PIPELINE_ACTIVATIONS, inside, left)


def read(predictor: Predictor, folder: Path) -> nn.Module:
    """Load a written folder by transformers."""
    options = Transformer.of(predictor.options)
    written = Transformer(name=f"hf:{folder.resolve()}", allow_remote_code=options.allow_remote_code)
    return written.build(predictor.preprocessor.inputs, predictor.target.outputs)


def _describe_answers(config: Any, steps: AnswerSteps) -> None:
    """Name a classifier's outputs, and say what they are; language models have neither."""
    if not steps.names:
        return
    config.id2label = dict(enumerate(steps.names))
    config.label2id = {name: place for place, name in enumerate(steps.names)}
    config.problem_type = steps.problem


def _describe_generation(network: Any, tokenizer: TokenizerFile) -> None:
    """Complete a language model's config with what generation needs without danlu."""
    from transformers import GenerationConfig

    config: Any = network.config
    ends = sorted({tokenizer.end, *tokenizer.stops})
    config.use_cache = True
    config.eos_token_id = ends if len(ends) > 1 else ends[0]
    begin = tokenizer.special.get("bos_token")
    config.bos_token_id = None if begin is None else tokenizer.open().token_to_id(begin)
    network.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, bos_token_id=config.bos_token_id
    )
