"""Tiny language models with random weights and tokenizers of ten sentences, written as local folders."""

from pathlib import Path
from typing import Any

from danlu.core.imports import patch_torchvision
from tests.support.tiny_folders import SENTENCES

CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SCALED: dict[str, Any] = {"factor": 3.0, "rope_theta": 1e4}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 5e2,
}
GROUPED: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
# What llama.cpp has a form for: architecture and config.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GROUPED),
    "llama with biases": ("llama", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "llama with wide heads": ("llama", {**GROUPED, "head_dim": 16, "tie_word_embeddings": True}),
    "llama scaled linearly": ("llama", {**GROUPED, "rope_parameters": {**SCALED, "rope_type": "linear"}}),
    "llama 3": ("llama", {**GROUPED, "head_dim": 32, "rope_parameters": LLAMA3}),
    "mistral": ("mistral", GROUPED),
    "qwen2": ("qwen2", GROUPED),
    "qwen2 scaled by yarn": ("qwen2", {**GROUPED, "rope_parameters": {**SCALED, "rope_type": "yarn", "original_max_position_embeddings": 64}}),  # noqa: E501
    "qwen3": ("qwen3", {**GROUPED, "head_dim": 128}),
    "qwen3 with narrow heads": ("qwen3", {**GROUPED, "head_dim": 16}),
    "gpt2": ("gpt2", {}),
}  # fmt: skip


def tokenizer(
    template: str | None = None, extra: tuple[str, ...] = (), begins: bool = False, unigram: bool = False
) -> Any:
    """Train a tokenizer on SENTENCES: byte-level BPE, or unigram; `begins` puts <s> before every text."""
    patch_torchvision()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", *extra]
    given: dict[str, Any] = {"vocab_size": 400, "special_tokens": special, "show_progress": False}
    trainer: Any
    if unigram:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **given)
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), **given)
    made.train_from_iterator(SENTENCES * 3, trainer)
    if begins:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
        )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    if template:
        wrapped.chat_template = template
    return wrapped


def pieces(spaces: str = "prepend", template: str | None = None, extra: tuple[str, ...] = ()) -> Any:
    """Make a tokenizer like sentencepiece's: bytes for what no piece holds, every way of joining a piece a merge.

    Args:
        spaces: `prepend` puts one before each text between special tokens, `plain` none; others are Metaspace's.
        template: of conversations.
        extra: special tokens.
    """
    patch_torchvision()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(SENTENCES * 3, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    learnt = sorted(trained.get_vocab(), key=lambda piece: trained.get_vocab()[piece])
    special = ["<unk>", "<s>", "</s>", *extra]
    told = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    vocabulary = {piece: place for place, piece in enumerate(told)}
    splits = ((piece[:at], piece[at:]) for piece in learnt for at in range(1, len(piece)))
    merges = [pair for pair in splits if all(part in vocabulary for part in pair)]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if spaces in ("prepend", "plain"):
        before = [normalizers.Prepend("▁")] if spaces == "prepend" else []
        made.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaces, split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(special)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    if template:
        wrapped.chat_template = template
    return wrapped


def folder(path: Path, tokens: Any, arch: str = "llama", seed: int = 0, **config: Any) -> Path:
    """Write a model of two layers of width 32 with random weights of deviation 0.2, and its tokenizer."""
    patch_torchvision()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    usual: dict[str, Any] = {
        "vocab_size": len(tokens),
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
        "initializer_range": 0.2,
    }
    if arch == "gpt2":
        usual |= {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}
    else:
        usual |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
        usual |= {"intermediate_size": 64, "max_position_embeddings": 256}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **{**usual, **config}))
    for name, values in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(values, std=0.2)  # 0 as they are made, which hides those that are left out
    model.save_pretrained(path)
    tokens.save_pretrained(path)
    return path
