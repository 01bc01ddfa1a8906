"""Which matrices of an architecture of transformers' may be split, by the names it gives them. Data alone.

Of a group of matrices the first ones are split along their outputs (heads, or hidden units), and the last one along its
inputs, so that between them every process works on its own heads or units. The tests train every architecture here.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Matrices:
    """A group of matrices within a block.

    Attributes:
        module: what is given the hidden states, for these matrices alone, from the block on.
        first: names in that module.
        last: from the block on.
        heads: norms in that module of each head's queries and keys, whose weights all heads share.
    """

    module: str
    first: tuple[str, ...]
    last: str
    heads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Architecture:
    """Where blocks stand and what in them is split.

    Attributes:
        blocks: the name of their list.
        groups: in each block.
    """

    blocks: str
    groups: tuple[Matrices, ...]


GATED = Matrices("mlp", ("gate_proj", "up_proj"), "mlp.down_proj")
ATTENTION = Matrices("self_attn", ("q_proj", "k_proj", "v_proj"), "self_attn.o_proj")

LLAMA = Architecture("layers", (ATTENTION, GATED))
QWEN3 = Architecture("layers", (replace(ATTENTION, heads=("q_norm", "k_norm")), GATED))
STARCODER = Architecture("layers", (ATTENTION, Matrices("mlp", ("c_fc",), "mlp.c_proj")))
PHI = Architecture(
    "layers",
    (
        Matrices("self_attn", ("q_proj", "k_proj", "v_proj"), "self_attn.dense", ("q_layernorm", "k_layernorm")),
        Matrices("mlp", ("fc1",), "mlp.fc2"),
    ),
)
# Its fused matrix has queries, keys and values of a head side by side, so that it is split by heads too.
NEOX = Architecture(
    "layers",
    (
        Matrices("attention", ("query_key_value",), "attention.dense"),
        Matrices("mlp", ("dense_h_to_4h",), "mlp.dense_4h_to_h"),
    ),
)
BERT = Architecture(
    "layer",
    (
        Matrices("attention.self", ("query", "key", "value"), "attention.output.dense"),
        Matrices("intermediate", ("dense",), "output.dense"),
    ),
)
DISTILBERT = Architecture(
    "layer",
    (
        Matrices("attention", ("q_lin", "k_lin", "v_lin"), "attention.out_lin"),
        Matrices("ffn", ("lin1",), "ffn.lin2"),
    ),
)

ARCHITECTURES: dict[str, Architecture] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": QWEN3,
    "smollm3": LLAMA,
    "gemma": LLAMA,
    "gemma2": LLAMA,
    "granite": LLAMA,
    "olmo": LLAMA,
    "cohere": LLAMA,
    "helium": LLAMA,
    "starcoder2": STARCODER,
    "phi": PHI,
    "gpt_neox": NEOX,
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
    "electra": BERT,
    "distilbert": DISTILBERT,
}

# Matrices that hold queries, keys and values, or gate and input, in rows that cannot be given to processes in one cut.
FUSED = ("c_attn", "qkv_proj", "gate_up_proj", "Wqkv", "Wi", "in_proj", "query_key_value")
