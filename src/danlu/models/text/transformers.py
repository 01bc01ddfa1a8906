"""Text and language models from transformers: new by architecture and config, or from a local folder."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.console import info
from danlu.core.imports import patch_torchvision, require_extra, silence_libraries
from danlu.core.text import suggestion
from danlu.data.specs import CorpusInputs, EncoderInputs, PreferenceInputs, TaggingInputs, TextInputs, TokenInputs
from danlu.errors import ArgumentError, DataError
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.models.text.preference import AnswerLikelihood
from danlu.models.text.presets import by_own_names, resolve_config
from danlu.models.text.pretrained_folder import Pooling, require_folder, requires_remote_code
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier

# Relative to the largest logit if that exceeds 1: rounding stays far below it, attention to another document far above.
PACKING_TOLERANCE = 1e-3
# Config keys of dropout in different architectures: hidden states, attention, embeddings, classifier.
DROPOUT_KEYS = (
    *("dropout", "dropout_rate", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "resid_dropout"),
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "summary_first_dropout"),
    *("embd_pdrop", "embed_dropout", "embedding_dropout", "mlp_dropout"),
)


@dataclass(frozen=True)
class NetworkSpec:
    """Say which transformers network to build, and how.

    Attributes:
        name: the recipe's name of the model, for messages and new architectures.
        folder: of pretrained weights; None for a new network.
        config: settings of a new network.
        size: preset of a new network.
        dropout: for all dropout settings that `config` leaves out; None keeps the architecture's.
        attention: implementation, or `auto`.
        allow_remote_code: whether code from the folder may run.
        rows: that the embeddings of a folder are to have at least; None leaves them as they are.
    """

    name: str
    folder: Path | None
    config: dict[str, Any] | None
    size: str | None
    dropout: float | None
    attention: str
    allow_remote_code: bool
    rows: int | None = None


def build_transformer(spec: NetworkSpec, inputs: TokenInputs, outputs: int, pooling: Pooling | None) -> nn.Module:
    """Build a text classifier, regressor or tagger, or a causal language model.

    Args:
        spec: the network.
        inputs: specification of a prepared sample.
        outputs: outputs per sample or token.
        pooling: of texts; None uses the architecture's own classifier.
    """
    require_extra("text", spec.name)
    patch_torchvision()
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )
    from transformers.utils import logging

    # It would warn at length that the classifier is new, which is the point of fine-tuning.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    builders: dict[type[TokenInputs], Any]
    builders = {TextInputs: AutoModelForSequenceClassification, TaggingInputs: AutoModelForTokenClassification}
    builder: Any = builders.get(type(inputs), AutoModelForCausalLM)
    if pooling is not None:
        builder = AutoModel
    settings = {"num_labels": outputs} if type(inputs) in builders and pooling is None else {}
    with silence_libraries():
        network, fresh = _load_or_create(spec, inputs, builder, settings, AutoConfig)
    if hasattr(network.config, "use_cache"):  # the key-value cache serves generation; in training it wastes memory
        network.config.use_cache = False
    if isinstance(inputs, EncoderInputs):
        network.config.pad_token_id = inputs.pad
    if pooling is not None:
        return SentenceEncoderClassifier(network.float(), outputs, pooling, spec.dropout)
    if isinstance(inputs, PreferenceInputs):
        return AnswerLikelihood(network.float(), fresh, drops=_asks_for_dropout(spec))
    model = HFModelWrapper(network.float(), fresh)
    if isinstance(inputs, CorpusInputs) and inputs.packed:
        _require_packing(model, spec.name)
    return model


def _load_or_create(
    spec: NetworkSpec,
    inputs: TokenInputs,
    builder: Any,
    settings: dict[str, Any],
    configs: Any,
) -> tuple[Any, tuple[str, ...]]:
    """Load a transformers network from a folder, or create it.

    Returns:
        the network, and the names of weights that the folder lacks.
    """
    try:
        if spec.folder is not None:
            require_folder(spec.folder)
            trusted = requires_remote_code(spec.folder, spec.allow_remote_code)
            own = configs.from_pretrained(spec.folder, local_files_only=True, trust_remote_code=trusted)
            network, found = builder.from_pretrained(
                spec.folder,
                local_files_only=True,
                trust_remote_code=trusted,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **settings,
                **_attention(spec),
                **_dropout_settings(spec, own, inputs),
            )
            return network, (*_fresh_weights(network, found, spec.folder), *_add_rows(network, spec))
        name = spec.name.removeprefix("hf:")
        _require_architecture(name)
        usual = configs.for_model(name)
        filled_in = by_own_names(_data_settings(inputs, usual), usual)
        config = {**filled_in, **resolve_config(spec.config, spec.size, usual), **settings}
        heads, groups = (usual.attribute_map.get(name, name) for name in ("num_attention_heads", "num_key_value_heads"))
        if getattr(usual, groups, None) and heads in config:
            config.setdefault(groups, config[heads])  # the default suits a large model
        config |= _dropout_settings(spec, usual, inputs)
        own = configs.for_model(name, **config)
        return builder.from_config(own, trust_remote_code=False, **_attention(spec)), ()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"model.name: {spec.folder}: its weights are a pickle that holds more than tensors and could run any "
            "code, so danlu refuses it; ask its author for safetensors",
            code="DL271",
        ) from error
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise ArgumentError(f"model: {spec.name}: {str(error).strip().splitlines()[0]}", code="DL272") from error


def _fresh_weights(network: Any, found: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Return the names of weights that the folder lacks or holds in another shape.

    These may be the task head's and an untrained pooler's.

    Raises:
        DataError: weights of the body are among them, so the folder holds another architecture's weights.
    """
    other = {entry if isinstance(entry, str) else entry[0] for entry in found["mismatched_keys"]}
    absent = set(found["missing_keys"])
    body = "" if network.base_model is network else f"{network.base_model_prefix}."
    wrong = [
        sorted(name for name in names if name.startswith(body) and "pooler" not in name) for names in (absent, other)
    ]
    if any(wrong):
        kinds = zip(wrong, ("absent", "of another shape"), strict=True)
        counts = ", ".join(f"{len(names)} are {what} ({', '.join(names[:2])})" for names, what in kinds if names)
        raise DataError(
            f"model.name: {folder} holds the weights of another network than its config.json describes: of "
            f"{len(network.state_dict())} {counts}; {len(found['unexpected_keys'])} are unknown",
            code="DL273",
        )
    return tuple(sorted(absent | other))


def _add_rows(network: Any, spec: NetworkSpec) -> tuple[str, ...]:
    """Add rows to the embeddings, near the mean of the others.

    Returns:
        the names of the matrices that have new rows.
    """
    known = network.get_input_embeddings().num_embeddings
    if spec.rows is None or spec.rows <= known:
        return ()
    network.resize_token_embeddings(spec.rows)
    info(f"{spec.folder}: {spec.rows - known} rows are added to its {known:,} embeddings; they begin near the mean")
    layers = (network.get_input_embeddings(), network.get_output_embeddings())
    return tuple(f"{name}.weight" for name, module in network.named_modules() if any(module is each for each in layers))


def _attention(spec: NetworkSpec) -> dict[str, str]:
    """Return the attention implementation setting, if the recipe sets one."""
    names = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
    return {"attn_implementation": names[spec.attention]} if spec.attention in names else {}


def _dropout_settings(spec: NetworkSpec, config: Any, inputs: TokenInputs) -> dict[str, float]:
    """Return the architecture's dropout keys, set to the recipe's value; 0 for preferences by default.

    Raises:
        ArgumentError: the architecture has no dropout.
    """
    compares = isinstance(inputs, PreferenceInputs)  # with log-probabilities that were kept without dropout
    if spec.dropout is None and not compares:
        return {}
    own = by_own_names({key: spec.dropout or 0.0 for key in DROPOUT_KEYS if hasattr(config, key)}, config)
    if not own and spec.dropout is not None:
        raise ArgumentError(f"model.dropout: {spec.name} has no dropout to set; leave it out", code="DL512")
    said = by_own_names(spec.config or {}, config)
    return {key: rate for key, rate in own.items() if key not in said}


def _asks_for_dropout(spec: NetworkSpec) -> bool:
    """Return whether the recipe itself sets a dropout above 0, by `model.dropout` or in `model.config`."""
    said = [value for key, value in (spec.config or {}).items() if "drop" in key]
    return bool(spec.dropout) or any(isinstance(value, int | float) and value > 0 for value in said)


def logits_close(found: Tensor, expected: Tensor) -> bool:
    """Return whether logits are equal up to rounding, relative to the largest."""
    return bool((found - expected).abs().max() <= PACKING_TOLERANCE * expected.abs().max().clamp(min=1.0))


@torch.no_grad()
def _require_packing(model: HFModelWrapper, name: str) -> None:
    """Raise ArgumentError unless the model keeps documents of a packed block apart."""
    if next(model.parameters()).is_meta:  # only names and shapes are asked for
        return
    was_training = model.training
    model.eval()
    ids, positions = torch.tensor([[1, 2, 3, 2, 1, 3]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    try:
        kept_apart = logits_close(model(ids, position_ids=positions)[0, 3:], model(ids[:, 3:])[0])
    except TypeError:  # the architecture accepts no position_ids
        kept_apart = False
    model.train(was_training)
    if not kept_apart:
        raise ArgumentError(
            f"model.name: {name} lets a token see other documents of its block; set data.packing: false", code="DL602"
        )


def _data_settings(inputs: TokenInputs, usual: Any) -> dict[str, Any]:
    """Return the config settings of a new model that depend on the data.

    Args:
        inputs: specification of the inputs.
        usual: the architecture's default config.
    """
    special: dict[str, int | None] = {**inputs.special_tokens}
    if (getattr(usual, "pad_token_id", None) or 0) >= inputs.vocabulary:  # belongs to another vocabulary
        special.setdefault("pad_token_id", None)
    if getattr(usual, "max_position_embeddings", None) == -1:  # XLNet accepts texts of any length
        return {"vocab_size": inputs.vocabulary, **special}
    # BERT-like models number positions from the padding id on, so a few more are added.
    return {"vocab_size": inputs.vocabulary, "max_position_embeddings": inputs.longest + 8, **special}


def _require_architecture(name: str) -> None:
    from transformers import CONFIG_MAPPING

    if name not in CONFIG_MAPPING:
        near = suggestion(name, list(CONFIG_MAPPING)).split(" (allowed")[0]
        raise ArgumentError(
            f"model.name: transformers has no architecture {name!r}{near} (as hf:bert, hf:llama); "
            "a local folder is written hf:./FOLDER",
            code="DL513",
        )
