"""Folders of tiny pretrained models with random weights, two layers of width 32, and a tokenizer of a few sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.core.imports import patch_torchvision

SENTENCES = (
    "the cat sat on the mat and looked at the moon",
    "my screen is black and the mouse does not move",
    "is the cable plugged in or is the router off",
    "restart the router and wait for ten minutes",
    "the printer is silent but the fan is loud",
    "clean the vents and look into the bin",
    "turn up the volume and try another port",
    "unplug the keyboard and let it dry for a day",
    "paris is the capital of france and rome of italy",
    "two and two make four and four and four make eight",
)
# One setting has one of these names in each architecture.
WIDTH = ("hidden_size", "n_embd", "d_model", "dim", "emb_dim")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
INNER = ("intermediate_size", "n_inner", "dff", "ffn_dim", "hidden_dim")


def tiny_tokenizer(extra: Sequence[str] = (), template: str | None = None) -> Any:
    """A byte-level BPE trained on the sentences, with <unk>, <s>, </s>, <pad> and the extra tokens."""
    patch_torchvision()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES * 3, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    if extra:
        wrapped.add_tokens(list(extra), special_tokens=True)
    wrapped.chat_template = template
    return wrapped


def tiny_folder(
    path: Path, architecture: str = "llama", *, extra: Sequence[str] = (), rows: int | None = None, **config: Any
) -> Path:
    """Write a language model, or with `labels` a classifier of texts (`words=True`: of words).

    Args:
        extra: tokens that the tokenizer has beside its own.
        rows: of the embeddings; by default as many as the tokenizer has tokens.
        config: settings of the architecture; `labels` are the names of classes.
    """
    patch_torchvision()
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    tokens = tiny_tokenizer(extra)
    usual = AutoConfig.for_model(architecture).to_dict()
    wanted = ((WIDTH, 32), (LAYERS, 2), (HEADS, 2), (INNER, 64))
    settings: dict[str, Any] = {name: value for names, value in wanted for name in names if name in usual}
    settings |= {name: 16 for name in ("rotary_dim", "head_dim") if usual.get(name)}
    settings |= {"num_key_value_heads": 2} if usual.get("num_key_value_heads") else {}
    settings |= {"vocab_size": len(tokens) if rows is None else rows, "bos_token_id": 1, "eos_token_id": 2}
    labels, words = config.pop("labels", None), config.pop("words", False)
    if labels is not None:
        settings |= {"id2label": dict(enumerate(labels)), "label2id": {name: at for at, name in enumerate(labels)}}
    built = AutoModelForTokenClassification if words else AutoModelForSequenceClassification
    builder: Any = AutoModelForCausalLM if labels is None else built
    torch.manual_seed(0)
    model = builder.from_config(AutoConfig.for_model(architecture, **{**settings, "pad_token_id": 3, **config}))
    model.save_pretrained(path)
    tokens.save_pretrained(path)
    return path
