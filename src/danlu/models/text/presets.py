"""Size presets translated to the config keys of a transformers architecture. In: its default config. Out: settings.

Architectures name the same settings differently, and some settings depend on others: if they kept the default of a
large model, a small one would have few layers as wide as before, or could not be built.
"""

from collections.abc import Mapping
from typing import Any

from danlu.errors import ArgumentError

# The small one learns from a few thousand texts in a minute on two cores.
SIZE_PRESETS: dict[str, dict[str, int]] = {
    "small": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512},
    "base": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "intermediate_size": 2048},
    "large": {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096},
}
# Names of each setting in different architectures; all are set where one has several (encoder and decoder).
CONFIG_ALIASES: dict[str, tuple[str, ...]] = {
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
# Set to the hidden size if they equal it by default.
HIDDEN_SIZE_KEYS = ("pooler_hidden_size", "embedding_size", "word_embed_proj_dim", "attention_hidden_size")
HEAD_DIM_KEYS = ("head_dim", "d_kv", "d_head")
EXPERT_SIZE_KEYS = ("moe_intermediate_size", "shared_expert_intermediate_size")  # keep their ratio to intermediate_size
KEY_VALUE_HEAD_KEYS = ("num_key_value_heads", "num_kv_heads")


def by_own_names(settings: Mapping[str, Any], default_config: Any) -> dict[str, Any]:
    """Return settings under the architecture's own names.

    `attribute_map` gives one setting several names: GPT-2 takes `max_position_embeddings` for its `n_positions`.

    Raises:
        ArgumentError: one setting is given two values, by two of its names.
    """
    mapped = default_config.attribute_map
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name, value in settings.items():
        own = mapped.get(name, name)
        if own in found and found[own] != value:
            raise ArgumentError(
                f"model.config: {said[own]} and {name} are two names of one setting of {default_config.model_type}, "
                f"with the values {found[own]} and {value}; leave one of them out",
                code="DL512",
            )
        found[own], said[own] = value, name
    return found


def resolve_config(config: Mapping[str, Any] | None, size: str | None, default_config: Any) -> dict[str, Any]:
    """Merge a recipe's config with its size preset, under the architecture's own names.

    Without either the size is small.

    Args:
        config: settings from the recipe.
        size: a key of SIZE_PRESETS, if the recipe sets one.
        default_config: the architecture's default config.
    """
    if size is None and config:
        return by_own_names(config, default_config)
    return preset_config(size or "small", config or {}, default_config)


def preset_config(size: str, overrides: Mapping[str, Any], default_config: Any) -> dict[str, Any]:
    """Return an architecture's config settings for a size preset.

    Args:
        size: a key of SIZE_PRESETS.
        overrides: settings from the recipe, by the architecture's names or the common ones; they override the preset.
        default_config: the architecture's default config.

    Raises:
        ArgumentError: the names of its width or number of layers are unknown, so the preset would have no effect.
    """
    fields, mapped = default_config.to_dict(), default_config.attribute_map
    own = by_own_names(overrides, default_config)
    found: dict[str, Any] = {}
    for word, value in SIZE_PRESETS[size].items():
        names = [name for name in dict.fromkeys((mapped.get(word, word), *CONFIG_ALIASES[word])) if name in fields]
        if names and word in own:
            own[names[0]] = own.pop(word)
        found |= {name: own.get(names[0], value) for name in names}
    chosen = {**found, **own}
    if "block_sizes" in fields:  # Funnel: blocks of layers with token pooling in between
        found["block_sizes"] = _split_into_blocks(SIZE_PRESETS[size]["num_hidden_layers"])
    elif _setting(chosen, "num_hidden_layers") is None:
        raise _unknown_setting(default_config, "layers")
    if _setting(chosen, "hidden_size") is None:
        raise _unknown_setting(default_config, "width")
    return {**found, **_dependent_settings(chosen, fields, default_config), **own}


def _dependent_settings(chosen: dict[str, Any], fields: dict[str, Any], usual: Any) -> dict[str, Any]:
    """Return the settings that depend on width, number of heads or number of layers."""
    hidden, heads = _setting(chosen, "hidden_size"), _setting(chosen, "num_attention_heads")
    found = {name: hidden for name in HIDDEN_SIZE_KEYS if fields.get(name) == usual.hidden_size}
    if _setting(fields, "intermediate_size"):
        inner, usually = _setting(chosen, "intermediate_size"), _setting(fields, "intermediate_size")
        found |= {name: max(1, inner * fields[name] // usually) for name in EXPERT_SIZE_KEYS if fields.get(name)}
    if heads is not None:
        width = fields.get("expand", 1) * hidden // heads
        found |= {name: heads for name in KEY_VALUE_HEAD_KEYS if name in fields}
        if "qk_rope_head_dim" not in fields:  # latent attention sets its head sizes independently of the width
            found |= {name: width for name in HEAD_DIM_KEYS if fields.get(name)}
        if fields.get("rotary_dim"):
            found["rotary_dim"] = min(fields["rotary_dim"], width)
    if "attention_types" in fields:  # GPT-Neo: one attention type per layer
        kinds = fields["attention_types"][0][0]
        found["attention_types"] = [[kinds, _setting(chosen, "num_hidden_layers") // len(kinds)]]
    return found


def _setting(chosen: Mapping[str, Any], word: str) -> Any:
    return next((chosen[name] for name in CONFIG_ALIASES[word] if chosen.get(name)), None)


def _split_into_blocks(layers: int) -> list[int]:
    """Split layers into one to three blocks of nearly equal size."""
    blocks = max(1, min(3, layers // 2))
    return [layers // blocks + (at < layers % blocks) for at in range(blocks)]


def _unknown_setting(usual: Any, what: str) -> ArgumentError:
    return ArgumentError(
        f"model.size: {usual.model_type} has no setting for its {what} that danlu knows, so a size would have no "
        "effect; set model.config with the architecture's own keys",
        code="DL512",
    )
