"""A transformers language model as llama.cpp has it: the settings of its architecture, and its tensors by their names.

In: the network. Out: fields and tensors of a file. Names come from the table of the package gguf, by which danlu and
transformers read such files, too. What llama.cpp would compute otherwise is refused by name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.errors import ArgumentError
from danlu.models.text.gguf_rope import DIVISORS

Change = Callable[[str, np.ndarray, Any], np.ndarray]  # name in the file, values, config -> values in the file


@dataclass(frozen=True)
class Architecture:
    """Say what llama.cpp calls an architecture of transformers, and how its weights lie there.

    Attributes:
        name: llama.cpp's.
        change: turns a tensor of transformers into the file's.
        rotates: whether positions turn queries and keys.
    """

    name: str
    change: Change
    rotates: bool = True


def _same(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    return values


def _interleaved(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Interleave the halves of each head's queries and keys, as llama.cpp has them."""
    layer = name.split(".")[-2]
    if layer not in ("attn_q", "attn_k"):
        return values
    heads = config.num_attention_heads if layer == "attn_q" else config.num_key_value_heads
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _transposed(name: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Turn the layers that GPT-2 keeps as [inputs, outputs]."""
    layers = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    return values.T if values.ndim == 2 and name.split(".")[-2] in layers else values


# Scaled positions that llama.cpp computes as transformers does -> their settings.
ROTATIONS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
YARN = {"beta_fast": 32, "beta_slow": 1, "truncate": True}  # what llama.cpp takes for granted
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", _interleaved),
    "mistral": Architecture("llama", _interleaved),
    "qwen2": Architecture("qwen2", _same),
    "qwen3": Architecture("qwen3", _same),
    "gpt2": Architecture("gpt2", _transposed, rotates=False),
}


def architecture_of(network: Any) -> Architecture:
    """Return how llama.cpp has a network.

    Raises:
        ArgumentError: it has none, or would compute it otherwise.
    """
    config = network.config
    if config.model_type not in ARCHITECTURES or not type(network).__name__.endswith(("ForCausalLM", "LMHeadModel")):
        raise ArgumentError(
            f"--to gguf: {type(network).__name__} has no form there; these have: {', '.join(ARCHITECTURES)}",
            code="DL409",
        )
    for name, usual in _settings(config).items():
        found = getattr(config, name, None)
        if found not in (*usual, None):
            raise ArgumentError(
                f"--to gguf: llama.cpp computes {config.model_type} with {name}: {usual[0]}, and this has {found}",
                code="DL409",
            )
    _require_rotation(config)
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and window < config.max_position_embeddings:
        raise ArgumentError(
            f"--to gguf: llama.cpp's {ARCHITECTURES[config.model_type].name} has no sliding window (here of {window} "
            "tokens)",
            code="DL409",
        )
    return ARCHITECTURES[config.model_type]


def _require_rotation(config: Any) -> None:
    """Raise ArgumentError for scaled positions that llama.cpp does not compute, or otherwise."""
    turning = getattr(config, "rope_parameters", None) or {}
    scaling, arch = turning.get("rope_type", "default"), ARCHITECTURES[config.model_type].name
    taken = {"rope_type", "rope_theta", "partial_rotary_factor", *ROTATIONS.get(scaling, ())}
    others = {name: value for name, value in turning.items() if name not in taken and value is not None}
    if scaling == "yarn":
        others = {name: value for name, value in others.items() if YARN.get(name) != value}
    if scaling not in ROTATIONS or (scaling == "llama3" and arch != "llama"):
        raise ArgumentError(f"--to gguf: llama.cpp's {arch} has no positions of rope_type {scaling}", code="DL409")
    if others:
        told = ", ".join(f"{name}: {value}" for name, value in others.items())
        raise ArgumentError(f"--to gguf: llama.cpp has no rope_type {scaling} with {told}", code="DL409")


def _settings(config: Any) -> dict[str, tuple[Any, ...]]:
    """Return what llama.cpp takes for granted of an architecture: setting -> values that mean this."""
    if config.model_type == "gpt2":
        return {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        }
    # Biases are tensors of their own, which llama.cpp's Qwen3 does not have.
    biases = {"attention_bias": (False,)} if config.model_type == "qwen3" else {}
    return {"hidden_act": ("silu", "swish"), **biases}


def add_settings(writer: Any, network: Any, architecture: Architecture) -> None:
    """Write the sizes of a network and what its layers are computed with."""
    from gguf import RopeScalingType

    config = network.config
    heads, width = config.num_attention_heads, config.hidden_size
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(network.get_input_embeddings().weight.shape[0])
    if not architecture.rotates:
        writer.add_feed_forward_length(config.n_inner or 4 * width)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    head = getattr(config, "head_dim", None) or width // heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    turning = config.rope_parameters
    writer.add_rope_freq_base(float(turning["rope_theta"]))
    if turning["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(turning["rope_type"]))
        writer.add_rope_scaling_factor(float(turning["factor"]))
    if turning["rope_type"] == "yarn":
        longest = turning.get("original_max_position_embeddings") or config.max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(int(longest))
    writer.add_key_length(head)
    writer.add_value_length(head)


def named_tensors(network: Any, architecture: Architecture) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a network's tensors as the file has them: name and float32 values.

    Raises:
        ArgumentError: llama.cpp's architecture has no such tensor.
    """
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    kind = next(one for one in MODEL_ARCH if MODEL_ARCH_NAMES[one] == architecture.name)
    names = get_tensor_name_map(kind, network.config.num_hidden_layers)
    words, last = network.get_input_embeddings().weight, network.get_output_embeddings().weight
    divisors = _divisors(network)
    if divisors is not None:
        yield DIVISORS, divisors
    for own, values in network.state_dict().items():
        if own == "lm_head.weight" and words.data_ptr() == last.data_ptr():
            continue  # the reader takes the embedding
        name = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ArgumentError(f"--to gguf: llama.cpp's {architecture.name} has no tensor for {own}", code="DL409")
        yield name, architecture.change(name, values.detach().float().cpu().numpy(), network.config)


def frequencies(network: Any) -> np.ndarray:
    """Return how far a token turns queries and keys.

    [width of a head / 2]; empty where positions turn nothing.
    """
    found: Any = next((module.inv_freq for module in network.modules() if hasattr(module, "inv_freq")), None)
    return np.zeros(0) if found is None else np.asarray(found.float().cpu().numpy())


def _divisors(network: Any) -> np.ndarray | None:
    """Return what Llama 3's frequencies are divided by, which its file holds."""
    turning = getattr(network.config, "rope_parameters", None) or {}
    if turning.get("rope_type") != "llama3":
        return None
    scaled = frequencies(network)
    usual = float(turning["rope_theta"]) ** (-np.arange(len(scaled)) / len(scaled))
    return np.asarray(usual / scaled, dtype=np.float32)
