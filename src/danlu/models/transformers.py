"""Text and language models from transformers: by architecture and config, or from a local folder."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.errors import ArgumentError, DataError
from danlu.core.extras import require
from danlu.core.names import suggestion
from danlu.core.quiet import quiet
from danlu.core.torchvision import mend_torchvision
from danlu.data.place import Hints
from danlu.data.specs import CorpusInputs, PreferenceInputs, TextInputs, WordInputs
from danlu.data.texts import load_tokenizer
from danlu.models.chunked import ProjectedLogits, choose_chunk
from danlu.models.parts import TaskModel, last_linear_of_head
from danlu.models.pooled import PooledTexts, Pooling, folder_pooling
from danlu.models.remote_code import runs_code
from danlu.models.sizes import sized

if TYPE_CHECKING:
    from danlu.models.table import Transformer

EncoderInputs = TextInputs | WordInputs
LanguageInputs = CorpusInputs | PreferenceInputs
# Of the largest logit, where that is above 1: rounding is far below it, sight of another document far above.
PACKING_TOLERANCE = 1e-3
# What architectures call their dropout of hidden states, attention, embeddings and before the classifier.
DROPOUTS = (
    *("dropout", "dropout_rate", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "resid_dropout"),
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "summary_first_dropout"),
    *("embd_pdrop", "embed_dropout", "embedding_dropout", "mlp_dropout"),
)


class Logits(TaskModel):
    """A model of transformers that answers with its logits alone.

    Attributes:
        loss_chunk: tokens whose logits may be in memory at once; set by `project_late`, None for whole logits.
    """

    def __init__(self, network: nn.Module, fresh: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.head_parts = (*_task_modules(network), *(f"network.{name}" for name in fresh))
        self.loss_chunk: int | None = None

    @property
    def last_layer(self) -> nn.Module | None:
        """Of a classifier or regressor."""
        return last_linear_of_head(self)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor | ProjectedLogits:
        """[batch, length] -> [batch, outputs], or [batch, length, outputs] for a language model.

        Args:
            input_ids: tokens, [batch, length].
            attention_mask: 1 for text, 0 for padding, [batch, length].
            position_ids: given alone, they begin anew with every document, and attention stays within it.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        given = {name: values for name, values in given.items() if values is not None}
        # A cache of keys and values would hide from transformers that documents are packed.
        caching = {"use_cache": False} if position_ids is not None else {}
        if self.loss_chunk is not None:
            body, last = _body_and_last(self.network)
            hidden = body(**given, **caching, return_dict=True).last_hidden_state
            return ProjectedLogits(hidden, last.weight, last.bias, self.loss_chunk)
        logits: Tensor = self.network(**given, **caching, return_dict=True).logits
        return logits


def _task_modules(network: Any) -> tuple[str, ...]:
    """What a classifier or regressor has besides the body; nothing of a language model."""
    if network.get_output_embeddings() is not None:
        return ()
    return tuple(f"network.{name}" for name, _ in network.named_children() if name != network.base_model_prefix)


def project_late(model: nn.Module, asked: int | str, tokens: int) -> int | None:
    """Have a language model leave its logits to its head, a chunk at a time, where that saves memory.

    Args:
        model: as `build_transformer` made it, before its precision is changed or it is compiled.
        asked: `training.memory.loss_chunk`.
        tokens: of a batch, or of a part of one.

    Returns:
        tokens a chunk; None where logits stay whole: few of them, or made by more than one matrix (as Gemma's, which
        are capped).
    """
    if not isinstance(model, Logits):
        return None
    model.loss_chunk = None
    try:
        _, last = _body_and_last(model.network)
    except (AttributeError, NotImplementedError):  # no language model
        return None
    if type(last) is not nn.Linear:
        return None
    chunk = choose_chunk(asked, tokens, last.out_features)
    if chunk is not None and _is_linear_at_last(model):
        model.loss_chunk = chunk
    return model.loss_chunk


def _body_and_last(network: Any) -> tuple[Any, Any]:
    """A language model without its last layer, and that layer; adapters may be wrapped around it."""
    causal = network.get_base_model() if hasattr(network, "get_base_model") else network
    return causal.base_model, causal.get_output_embeddings()


@torch.no_grad()
def _is_linear_at_last(model: Logits) -> bool:
    """Whether the last matrix on what comes before it gives the model's logits: some scale, cap or transform them."""
    was_training = model.training
    model.eval()
    ids = torch.arange(1, 9, device=next(model.parameters()).device)[None]
    body, last = _body_and_last(model.network)
    try:
        whole: Any = Logits.forward(model, ids)
        alone = last(body(input_ids=ids, return_dict=True).last_hidden_state)
        return whole.shape == alone.shape and torch.allclose(whole, alone, rtol=1e-5, atol=1e-6)
    except (AttributeError, RuntimeError):  # its parts are of other forms
        return False
    finally:
        model.train(was_training)


def build_transformer(options: "Transformer", inputs: EncoderInputs | LanguageInputs, outputs: int) -> nn.Module:
    """Build a classifier (or regressor) of texts, or a causal language model."""
    require("text", options.name)
    mend_torchvision()
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )
    from transformers.utils import logging

    # It would tell at length that the classifier is new, which is what fine-tuning means.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    pooling = pooling_of(options) if inputs.kind == "text" else None
    builders = {"text": AutoModelForSequenceClassification, "words": AutoModelForTokenClassification}
    builder: Any = builders.get(inputs.kind, AutoModelForCausalLM)
    if pooling is not None:
        builder = AutoModel
    settings = {"num_labels": outputs} if inputs.kind in builders and pooling is None else {}
    with quiet():
        network, fresh = _network(options, inputs, builder, settings, AutoConfig)
    if hasattr(network.config, "use_cache"):  # of keys and values, for generating; here it only takes memory
        network.config.use_cache = False
    if isinstance(inputs, EncoderInputs):
        network.config.pad_token_id = inputs.pad
    if pooling is not None:
        return PooledTexts(network.float(), outputs, pooling, options.dropout)
    if inputs.kind == "preference":
        from danlu.models.preference import AnswerLikelihood

        return AnswerLikelihood(network.float(), fresh)
    model = Logits(network.float(), fresh)
    if inputs.kind == "corpus" and inputs.packed:
        _require_packing(model, options.name)
    return model


def _network(
    options: "Transformer",
    inputs: EncoderInputs | LanguageInputs,
    builder: Any,
    settings: dict[str, Any],
    configs: Any,
) -> tuple[Any, tuple[str, ...]]:
    """transformers' own network, from a local folder or new by its architecture's name; weights the folder lacks."""
    try:
        if options.folder is not None:
            _require_folder(options.folder)
            trusted = runs_code(options.folder, options.allow_remote_code)
            own = configs.from_pretrained(options.folder, local_files_only=True, trust_remote_code=trusted)
            network, found = builder.from_pretrained(
                options.folder,
                local_files_only=True,
                trust_remote_code=trusted,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **settings,
                **_attention(options),
                **_dropouts(options, own),
            )
            return network, _fresh(network, found, options.folder)
        name = options.name.removeprefix("hf:")
        _require_architecture(name)
        usual = configs.for_model(name)
        config = {**_own_settings(inputs, usual), **own_config(options, usual), **settings}
        if getattr(usual, "num_key_value_heads", None) and "num_attention_heads" in config:
            config.setdefault("num_key_value_heads", config["num_attention_heads"])  # not as many as a large one has
        config |= _dropouts(options, usual)
        own = configs.for_model(name, **config)
        return builder.from_config(own, trust_remote_code=False, **_attention(options)), ()
    except pickle.UnpicklingError as error:
        raise DataError(
            f"model.name: {options.folder}: its weights are a pickle that holds more than tensors and could run any "
            "code, so danlu refuses it; have whoever made it save them as safetensors"
        ) from error
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise ArgumentError(f"model: {options.name}: {str(error).strip().splitlines()[0]}") from error


def _fresh(network: Any, found: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """The weights that a folder had none for, or of another shape: a task's own, and a pooler that nothing trained.

    Raises:
        DataError: the body's are among them, so the folder holds the weights of another architecture.
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
    """How attention is computed, where the recipe says."""
    names = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
    return {"attn_implementation": names[options.attention]} if options.attention in names else {}


def own_config(options: "Transformer", usual: Any) -> dict[str, Any]:
    """The recipe's config; what it leaves out by the size, which is small where it says neither.

    Args:
        usual: the architecture's config with nothing said.
    """
    said = options.config or {}
    if options.size is None and said:
        return said
    return sized(options.size or "small", said, usual)


def _dropouts(options: "Transformer", config: object) -> dict[str, float]:
    """The settings of an architecture that say how much is dropped, at what the recipe says.

    Raises:
        ArgumentError: it has none.
    """
    if options.dropout is None:
        return {}
    own = [key for key in DROPOUTS if hasattr(config, key)]
    if not own:
        raise ArgumentError(f"model.dropout: {options.name} has no dropout to set; leave it out")
    return {key: options.dropout for key in own if key not in (options.config or {})}


def alike(found: Tensor, expected: Tensor) -> bool:
    """Whether logits differ by no more than rounding, which grows with their size."""
    return bool((found - expected).abs().max() <= PACKING_TOLERANCE * expected.abs().max().clamp(min=1.0))


@torch.no_grad()
def _require_packing(model: Logits, name: str) -> None:
    """Raise ArgumentError unless a document in a packed block is read as if it stood alone."""
    was_training = model.training
    model.eval()
    ids, positions = torch.tensor([[1, 2, 3, 2, 1, 3]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    try:
        kept_apart = alike(model(ids, position_ids=positions)[0, 3:], model(ids[:, 3:])[0])
    except TypeError:  # the architecture takes no positions at all
        kept_apart = False
    model.train(was_training)
    if not kept_apart:
        raise ArgumentError(
            f"model.name: {name} lets a token see other documents of its block; say data.packing: false"
        )


def pooling_of(options: "Transformer") -> Pooling | None:
    """How texts are pooled; None leaves it to the architecture's own classifier."""
    own = folder_pooling(options.folder) if options.folder else None
    return options.pooling or own or ("mean" if options.finetune.mode == "head" else None)


def folder_config(folder: Path, allow_code: bool = False) -> tuple[str, dict[str, Any]]:
    """The architecture's name and its settings, as the folder's config.json has them."""
    require("text", f"hf:{folder}")
    mend_torchvision()
    from transformers import AutoConfig

    _require_folder(folder)
    trusted = runs_code(folder, allow_code)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted).to_diff_dict()
    leave = ("model_type", "transformers_version", "architectures", "dtype", "torch_dtype")
    kept = {key: value for key, value in config.items() if key not in leave and not key.startswith("_")}
    return config["model_type"], kept


def folder_hints(folder: Path, allow_code: bool = False) -> Hints:
    """The tokenizer and the longest input of a pretrained model."""
    require("text", f"hf:{folder}")
    mend_torchvision()
    from transformers import AutoConfig

    _require_folder(folder)
    trusted = runs_code(folder, allow_code)
    tokenizer = load_tokenizer(folder, trusted)
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa and its kin number positions from the padding token on, and lose so many.
    taken = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return Hints(tokenizer=tokenizer, longest=None if positions is None else positions - taken)


def _own_settings(inputs: EncoderInputs | LanguageInputs, usual: Any) -> dict[str, Any]:
    """What the data decides of a new model's config.

    Args:
        usual: the architecture's config with nothing said.
    """
    special: dict[str, int | None]
    special = {"pad_token_id": inputs.pad} if isinstance(inputs, EncoderInputs) else {"eos_token_id": inputs.end}
    if (getattr(usual, "pad_token_id", None) or 0) >= inputs.vocabulary:  # is another vocabulary's
        special.setdefault("pad_token_id", None)
    if getattr(usual, "max_position_embeddings", None) == -1:  # XLNet takes texts of any length
        return {"vocab_size": inputs.vocabulary, **special}
    # BERT-like models number positions from the padding id on, so some room is added.
    return {"vocab_size": inputs.vocabulary, "max_position_embeddings": inputs.longest + 8, **special}


def _require_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise DataError(f"model.name: {folder} is not a model's folder: it holds no config.json")


def _require_architecture(name: str) -> None:
    from transformers import CONFIG_MAPPING

    if name not in CONFIG_MAPPING:
        near = suggestion(name, list(CONFIG_MAPPING)).split(" (allowed")[0]
        raise ArgumentError(
            f"model.name: transformers has no architecture {name!r}{near} (as hf:bert, hf:llama); "
            "a local folder is written hf:./FOLDER"
        )
