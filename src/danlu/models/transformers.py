"""Text and language models from transformers: by architecture and config, or from a local folder. No remote code."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.errors import ArgumentError, DataError
from danlu.core.extras import require
from danlu.core.names import suggestion
from danlu.core.torchvision import mend_torchvision
from danlu.data.place import Hints
from danlu.data.specs import CorpusInputs, TextInputs
from danlu.data.texts import load_tokenizer

if TYPE_CHECKING:
    from danlu.models.table import Transformer

PACKING_TOLERANCE = 1e-3  # of logits; rounding is far below it, sight of another document far above
# What architectures call their dropout of hidden states, attention, embeddings and before the classifier.
DROPOUTS = (
    *("dropout", "dropout_rate", "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "resid_dropout"),
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop"),
    *("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "summary_first_dropout"),
    *("embd_pdrop", "embed_dropout", "embedding_dropout", "mlp_dropout"),
)
# Sizes that learn from a few thousand texts in a minute on two cores, where a recipe gives no config.
SMALL: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}


class Logits(nn.Module):
    """A model of transformers that answers with its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
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
        logits: Tensor = self.network(**given, **caching, return_dict=True).logits
        return logits


def build_transformer(options: "Transformer", inputs: TextInputs | CorpusInputs, outputs: int) -> nn.Module:
    """Build a classifier (or regressor) of texts, or a causal language model."""
    require("text", options.name)
    mend_torchvision()
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    # It would tell at length that the classifier is new, which is what fine-tuning means.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    builder: Any = AutoModelForCausalLM if inputs.kind == "corpus" else AutoModelForSequenceClassification
    settings = {} if inputs.kind == "corpus" else {"num_labels": outputs}
    try:
        if options.folder is not None:
            _require_folder(options.folder)
            own = AutoConfig.from_pretrained(options.folder, local_files_only=True, trust_remote_code=False)
            network = builder.from_pretrained(
                options.folder,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                **settings,
                **_dropouts(options, own),
            )
        else:
            name = options.name.removeprefix("hf:")
            _require_architecture(name)
            config = {**_own_settings(inputs), **(options.config or SMALL), **settings}
            config |= _dropouts(options, AutoConfig.for_model(name))
            network = builder.from_config(AutoConfig.for_model(name, **config), trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ArgumentError(f"model: {options.name}: {str(error).strip().splitlines()[0]}") from error
    if inputs.kind == "text":
        network.config.pad_token_id = inputs.pad
    model = Logits(network.float())
    if inputs.kind == "corpus" and inputs.packed:
        _require_packing(model, options.name)
    return model


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


@torch.no_grad()
def _require_packing(model: Logits, name: str) -> None:
    """Raise ArgumentError unless a document in a packed block is read as if it stood alone."""
    was_training = model.training
    model.eval()
    ids, positions = torch.tensor([[1, 2, 3, 2, 1, 3]]), torch.tensor([[0, 1, 2, 0, 1, 2]])
    try:
        packed = model(ids, position_ids=positions)[0, 3:]
        apart = float((packed - model(ids[:, 3:])[0]).abs().max())
    except TypeError:  # the architecture takes no positions at all
        apart = math.inf
    model.train(was_training)
    if not apart <= PACKING_TOLERANCE:
        raise ArgumentError(
            f"model.name: {name} lets a token see other documents of its block; say data.packing: false"
        )


def folder_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The architecture's name and its settings, as the folder's config.json has them."""
    require("text", f"hf:{folder}")
    mend_torchvision()
    from transformers import AutoConfig

    _require_folder(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).to_diff_dict()
    leave = ("model_type", "transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path")
    return config["model_type"], {key: value for key, value in config.items() if key not in leave}


def folder_hints(folder: Path) -> Hints:
    """The tokenizer and the longest input of a pretrained model."""
    _, config = folder_config(folder)
    return Hints(tokenizer=load_tokenizer(folder), longest=config.get("max_position_embeddings"))


def _own_settings(inputs: TextInputs | CorpusInputs) -> dict[str, Any]:
    """What the data decides of a new model's config."""
    special = {"pad_token_id": inputs.pad} if inputs.kind == "text" else {"eos_token_id": inputs.end}
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
