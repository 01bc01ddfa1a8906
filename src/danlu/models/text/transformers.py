"""Text and language models from transformers: new by architecture and config, or from a local folder."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.imports import patch_torchvision, require_extra, silence_libraries
from danlu.core.text import suggestion
from danlu.data.descriptors import DataRequirements
from danlu.data.specs import CorpusInputs, PreferenceInputs, TaggingInputs, TextInputs
from danlu.data.text.preprocessor import load_tokenizer
from danlu.errors import ArgumentError, DataError
from danlu.models.task_model import TaskModel, last_head_linear
from danlu.models.text.chunked_loss import DeferredLogits, choose_chunk_size
from danlu.models.text.presets import preset_config
from danlu.models.text.pretrained_folder import requires_remote_code
from danlu.models.text.sentence_encoder import Pooling, SentenceEncoderClassifier, folder_pooling

if TYPE_CHECKING:
    from danlu.models.table import Transformer

EncoderInputs = TextInputs | TaggingInputs
LanguageInputs = CorpusInputs | PreferenceInputs
# Relative to the largest logit if that exceeds 1: rounding stays far below it, attention to another document far above.
PACKING_TOLERANCE = 1e-3
# Config keys of dropout in different architectures: hidden states, attention, embeddings, classifier.
DROPOUT_KEYS = (
    *("dropout", "dropout_rate", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "resid_dropout"),
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "summary_first_dropout"),
    *("embd_pdrop", "embed_dropout", "embedding_dropout", "mlp_dropout"),
)


class HFModelWrapper(TaskModel):
    """Wrap a transformers model so that its forward returns logits only.

    Attributes:
        loss_chunk: tokens per chunk of logits; set by `enable_chunked_loss`, None for whole logits.
    """

    def __init__(self, network: nn.Module, fresh: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.head_parts = (*_head_modules(network), *(f"network.{name}" for name in fresh))
        self.loss_chunk: int | None = None

    @property
    def last_layer(self) -> nn.Module | None:
        """Last linear layer of a classifier or regressor."""
        return last_head_linear(self)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor | DeferredLogits:
        """Return logits, [batch, outputs], or [batch, length, outputs] for a language model.

        Args:
            input_ids: tokens, [batch, length].
            attention_mask: 1 for text, 0 for padding, [batch, length].
            position_ids: without a mask: restart at 0 with every packed document, and attention stays within it.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        given = {name: values for name, values in given.items() if values is not None}
        # With a key-value cache transformers would not see that documents are packed.
        caching = {"use_cache": False} if position_ids is not None else {}
        if self.loss_chunk is not None:
            body, last = _split_lm_head(self.network)
            hidden = body(**given, **caching, return_dict=True).last_hidden_state
            return DeferredLogits(hidden, last.weight, last.bias, self.loss_chunk)
        logits: Tensor = self.network(**given, **caching, return_dict=True).logits
        return logits


def _head_modules(network: Any) -> tuple[str, ...]:
    """Return the names of a classifier's modules outside the body; empty for language models."""
    if network.get_output_embeddings() is not None:
        return ()
    return tuple(f"network.{name}" for name, _ in network.named_children() if name != network.base_model_prefix)


def enable_chunked_loss(model: nn.Module, asked: int | str, tokens: int) -> int | None:
    """Make a language model return `DeferredLogits` where chunked loss saves memory.

    Args:
        model: as built by `build_transformer`, before its precision is changed or it is compiled.
        asked: `training.memory.loss_chunk`.
        tokens: tokens per batch or microbatch.

    Returns:
        tokens per chunk; None if logits stay whole: because they are few, or because more than one matrix product makes
        them (Gemma caps its logits).
    """
    if not isinstance(model, HFModelWrapper):
        return None
    model.loss_chunk = None
    try:
        _, last = _split_lm_head(model.network)
    except (AttributeError, NotImplementedError):  # not a language model
        return None
    if type(last) is not nn.Linear:
        return None
    chunk = choose_chunk_size(asked, tokens, last.out_features)
    if chunk is not None and _has_plain_lm_head(model):
        model.loss_chunk = chunk
    return model.loss_chunk


def _split_lm_head(network: Any) -> tuple[Any, Any]:
    """Split a language model, possibly wrapped by adapters, into its body and its last layer."""
    causal = network.get_base_model() if hasattr(network, "get_base_model") else network
    return causal.base_model, causal.get_output_embeddings()


@torch.no_grad()
def _has_plain_lm_head(model: HFModelWrapper) -> bool:
    """Return whether the logits are a plain linear map of the body's output.

    Some architectures scale, cap or transform them.
    """
    was_training = model.training
    model.eval()
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None]
    body, last = _split_lm_head(model.network)
    try:
        whole: Any = HFModelWrapper.forward(model, ids)
        alone = last(body(input_ids=ids, return_dict=True).last_hidden_state)
        return whole.shape == alone.shape and torch.allclose(whole, alone, rtol=1e-5, atol=1e-6)
    except (AttributeError, RuntimeError):  # the parts have another structure
        return False
    finally:
        model.train(was_training)


def build_transformer(options: "Transformer", inputs: EncoderInputs | LanguageInputs, outputs: int) -> nn.Module:
    """Build a text classifier, regressor or tagger, or a causal language model."""
    require_extra("text", options.name)
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

    pooling = resolve_pooling(options) if inputs.kind == "text" else None
    builders = {"text": AutoModelForSequenceClassification, "words": AutoModelForTokenClassification}
    builder: Any = builders.get(inputs.kind, AutoModelForCausalLM)
    if pooling is not None:
        builder = AutoModel
    settings = {"num_labels": outputs} if inputs.kind in builders and pooling is None else {}
    with silence_libraries():
        network, fresh = _load_or_create(options, inputs, builder, settings, AutoConfig)
    if hasattr(network.config, "use_cache"):  # the key-value cache serves generation; in training it wastes memory
        network.config.use_cache = False
    if isinstance(inputs, EncoderInputs):
        network.config.pad_token_id = inputs.pad
    if pooling is not None:
        return SentenceEncoderClassifier(network.float(), outputs, pooling, options.dropout)
    if inputs.kind == "preference":
        from danlu.models.text.preference import AnswerLikelihood

        return AnswerLikelihood(network.float(), fresh)
    model = HFModelWrapper(network.float(), fresh)
    if inputs.kind == "corpus" and inputs.packed:
        _require_packing(model, options.name)
    return model


def _load_or_create(
    options: "Transformer",
    inputs: EncoderInputs | LanguageInputs,
    builder: Any,
    settings: dict[str, Any],
    configs: Any,
) -> tuple[Any, tuple[str, ...]]:
    """Load a transformers network from a folder, or create it.

    Returns:
        the network, and the names of weights that the folder lacks.
    """
    try:
        if options.folder is not None:
            _require_folder(options.folder)
            trusted = requires_remote_code(options.folder, options.allow_remote_code)
            own = configs.from_pretrained(options.folder, local_files_only=True, trust_remote_code=trusted)
            network, found = builder.from_pretrained(
                options.folder,
                local_files_only=True,
                trust_remote_code=trusted,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **settings,
                **_attention(options),
                **_dropout_settings(options, own),
            )
            return network, _fresh_weights(network, found, options.folder)
        name = options.name.removeprefix("hf:")
        _require_architecture(name)
        usual = configs.for_model(name)
        config = {**_data_settings(inputs, usual), **resolve_config(options, usual), **settings}
        if getattr(usual, "num_key_value_heads", None) and "num_attention_heads" in config:
            config.setdefault("num_key_value_heads", config["num_attention_heads"])  # the default suits a large model
        config |= _dropout_settings(options, usual)
        own = configs.for_model(name, **config)
        return builder.from_config(own, trust_remote_code=False, **_attention(options)), ()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"model.name: {options.folder}: its weights are a pickle that holds more than tensors and could run any "
            "code, so danlu refuses it; ask its author for safetensors"
        ) from error
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise ArgumentError(f"model: {options.name}: {str(error).strip().splitlines()[0]}") from error


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
            f"{len(network.state_dict())} {counts}; {len(found['unexpected_keys'])} are unknown"
        )
    return tuple(sorted(absent | other))


def _attention(options: "Transformer") -> dict[str, str]:
    """Return the attention implementation setting, if the recipe sets one."""
    names = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
    return {"attn_implementation": names[options.attention]} if options.attention in names else {}


def resolve_config(options: "Transformer", default_config: Any) -> dict[str, Any]:
    """Merge the recipe's config with its size preset; without either the size is small.

    Args:
        options: the model's options.
        default_config: the architecture's default config.
    """
    said = options.config or {}
    if options.size is None and said:
        return said
    return preset_config(options.size or "small", said, default_config)


def _dropout_settings(options: "Transformer", config: object) -> dict[str, float]:
    """Return the architecture's dropout keys, set to the recipe's value.

    Raises:
        ArgumentError: the architecture has no dropout.
    """
    if options.dropout is None:
        return {}
    own = [key for key in DROPOUT_KEYS if hasattr(config, key)]
    if not own:
        raise ArgumentError(f"model.dropout: {options.name} has no dropout to set; leave it out")
    return {key: options.dropout for key in own if key not in (options.config or {})}


def logits_close(found: Tensor, expected: Tensor) -> bool:
    """Return whether logits are equal up to rounding, relative to the largest."""
    return bool((found - expected).abs().max() <= PACKING_TOLERANCE * expected.abs().max().clamp(min=1.0))


@torch.no_grad()
def _require_packing(model: HFModelWrapper, name: str) -> None:
    """Raise ArgumentError unless the model keeps documents of a packed block apart."""
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
            f"model.name: {name} lets a token see other documents of its block; set data.packing: false"
        )


def resolve_pooling(options: "Transformer") -> Pooling | None:
    """Return the pooling of texts; None uses the architecture's own classifier."""
    own = folder_pooling(options.folder) if options.folder else None
    return options.pooling or own or ("mean" if options.finetune.mode == "head" else None)


def folder_config(folder: Path, allow_code: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the architecture's name and settings from the folder's config.json."""
    require_extra("text", f"hf:{folder}")
    patch_torchvision()
    from transformers import AutoConfig

    _require_folder(folder)
    trusted = requires_remote_code(folder, allow_code)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted).to_diff_dict()
    leave = ("model_type", "transformers_version", "architectures", "dtype", "torch_dtype")
    kept = {key: value for key, value in config.items() if key not in leave and not key.startswith("_")}
    return config["model_type"], kept


def folder_requirements(folder: Path, allow_code: bool = False) -> DataRequirements:
    """Return the tokenizer and the maximum input length of a pretrained model."""
    require_extra("text", f"hf:{folder}")
    patch_torchvision()
    from transformers import AutoConfig

    _require_folder(folder)
    trusted = requires_remote_code(folder, allow_code)
    tokenizer = load_tokenizer(folder, trusted)
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa-like models number positions from the padding id on, which uses up that many.
    taken = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return DataRequirements(tokenizer=tokenizer, longest=None if positions is None else positions - taken)


def _data_settings(inputs: EncoderInputs | LanguageInputs, usual: Any) -> dict[str, Any]:
    """Return the config settings of a new model that depend on the data.

    Args:
        inputs: specification of the inputs.
        usual: the architecture's default config.
    """
    special: dict[str, int | None]
    special = {"pad_token_id": inputs.pad} if isinstance(inputs, EncoderInputs) else {"eos_token_id": inputs.end}
    if (getattr(usual, "pad_token_id", None) or 0) >= inputs.vocabulary:  # belongs to another vocabulary
        special.setdefault("pad_token_id", None)
    if getattr(usual, "max_position_embeddings", None) == -1:  # XLNet accepts texts of any length
        return {"vocab_size": inputs.vocabulary, **special}
    # BERT-like models number positions from the padding id on, so a few more are added.
    return {"vocab_size": inputs.vocabulary, "max_position_embeddings": inputs.longest + 8, **special}


def _require_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise DataError(f"model.name: {folder} is not a model's folder: it has no config.json")


def _require_architecture(name: str) -> None:
    from transformers import CONFIG_MAPPING

    if name not in CONFIG_MAPPING:
        near = suggestion(name, list(CONFIG_MAPPING)).split(" (allowed")[0]
        raise ArgumentError(
            f"model.name: transformers has no architecture {name!r}{near} (as hf:bert, hf:llama); "
            "a local folder is written hf:./FOLDER"
        )
