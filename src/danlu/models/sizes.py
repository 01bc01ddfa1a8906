"""What a preset of size says in the words of an architecture of transformers. In: its usual config. Out: settings.

Architectures call the same things by different names, and have settings that must move along: what stays at the size of
a large one would make a small model of few layers that are as wide as before, or none at all.
"""

from collections.abc import Mapping
from typing import Any

from danlu.core.errors import ArgumentError

# The small one learns from a few thousand texts in a minute on two cores.
SIZES: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512},
    "base": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048},
    "large": {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096},
}
# What architectures call each, all of which are set where one has several (an encoder and a decoder).
WORDS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "dim", "d_model", "n_embd", "emb_dim"),
    "num_hidden_layers": (
        *("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
        *("num_decoder_layers", "encoder_layers", "decoder_layers"),
    ),
    "num_attention_heads": (
        *("num_attention_heads", "n_heads", "n_head", "num_heads", "attention_heads"),
        *("encoder_attention_heads", "decoder_attention_heads"),
    ),
    "intermediate_size": (
        *("intermediate_size", "hidden_dim", "ffn_dim", "d_ff", "d_inner", "dff", "n_inner", "ffn_hidden_size"),
        *("encoder_ffn_dim", "decoder_ffn_dim"),
    ),
}
# As wide as the network, where they usually are.
AS_WIDE = ("pooler_hidden_size", "embedding_size", "word_embed_proj_dim", "attention_hidden_size")
HEAD_WIDTHS = ("head_dim", "d_kv", "d_head")
EXPERT_WIDTHS = ("moe_intermediate_size", "shared_expert_intermediate_size")  # keep their share of the others'
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")


def sized(size: str, said: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    """An architecture's settings of a size.

    Args:
        size: of SIZES.
        said: what the recipe says itself, in the architecture's words or the common ones; it goes before the size.
        usual: the architecture's config with nothing said.

    Raises:
        ArgumentError: it calls its width or layers otherwise, so a size would not take hold.
    """
    fields, mapped = usual.to_dict(), usual.attribute_map
    own = {mapped.get(key, key): value for key, value in said.items()}
    found: dict[str, Any] = {}
    for word, value in SIZES[size].items():
        names = [name for name in dict.fromkeys((mapped.get(word, word), *WORDS[word])) if name in fields]
        if names and word in own:
            own[names[0]] = own.pop(word)
        found |= {name: own.get(names[0], value) for name in names}
    chosen = {**found, **own}
    if "block_sizes" in fields:  # Funnel: layers in blocks, between which tokens are pooled
        found["block_sizes"] = _in_blocks(SIZES[size]["num_hidden_layers"])
    elif _first(chosen, "num_hidden_layers") is None:
        raise _unknown(usual, "layers")
    if _first(chosen, "hidden_size") is None:
        raise _unknown(usual, "width")
    return {**found, **_moving_along(chosen, fields, usual), **own}


def _moving_along(chosen: dict[str, Any], fields: dict[str, Any], usual: Any) -> dict[str, Any]:
    """Settings that a network of another width, or with other heads or layers, must have otherwise too."""
    hidden, heads = _first(chosen, "hidden_size"), _first(chosen, "num_attention_heads")
    found = {name: hidden for name in AS_WIDE if fields.get(name) == usual.hidden_size}
    if _first(fields, "intermediate_size"):
        inner, usually = _first(chosen, "intermediate_size"), _first(fields, "intermediate_size")
        found |= {name: max(1, inner * fields[name] // usually) for name in EXPERT_WIDTHS if fields.get(name)}
    if heads is not None:
        width = fields.get("expand", 1) * hidden // heads
        found |= {name: heads for name in KEY_VALUE_HEADS if name in fields}
        if "qk_rope_head_dim" not in fields:  # latent attention, whose heads are as wide as it says, whatever the width
            found |= {name: width for name in HEAD_WIDTHS if fields.get(name)}
        if fields.get("rotary_dim"):
            found["rotary_dim"] = min(fields["rotary_dim"], width)
    if "attention_types" in fields:  # GPT-Neo: a kind of attention for each layer
        kinds = fields["attention_types"][0][0]
        found["attention_types"] = [[kinds, _first(chosen, "num_hidden_layers") // len(kinds)]]
    return found


def _first(chosen: Mapping[str, Any], word: str) -> Any:
    return next((chosen[name] for name in WORDS[word] if chosen.get(name)), None)


def _in_blocks(layers: int) -> list[int]:
    """One block of two layers, or two and more of about as many."""
    blocks = max(1, min(3, layers // 2))
    return [layers // blocks + (at < layers % blocks) for at in range(blocks)]


def _unknown(usual: Any, what: str) -> ArgumentError:
    return ArgumentError(
        f"model.size: {usual.model_type} has no setting for its {what} that danlu knows, so a size would not take "
        "hold; say model.config in its own words"
    )
