"""Tensor-parallel plans: which linear layers of each transformers architecture are split, by name. Data alone.

In a group of layers the first ones are split along their outputs (heads, or hidden units; column parallel), the last
along its inputs (row parallel), so that between them every process works on its own heads or units. The tests train
every architecture here.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class MatrixGroup:
    """List the linear layers of a group within a block.

    Attributes:
        module: path in the block of the module that gets the hidden states, for these layers alone.
        column_parallel: names in that module.
        row_parallel: path in the block.
        head_norms: norms in that module of each head's queries and keys, whose weights all heads share.
    """

    module: str
    column_parallel: tuple[str, ...]
    row_parallel: str
    head_norms: tuple[str, ...] = ()


@dataclass(frozen=True)
class TPPlan:
    """Say where a model's blocks are and what in them is split.

    Attributes:
        blocks: the name of the list of blocks.
        groups: of each block.
    """

    blocks: str
    groups: tuple[MatrixGroup, ...]


GATED_MLP = MatrixGroup("mlp", ("gate_proj", "up_proj"), "mlp.down_proj")
ATTENTION = MatrixGroup("self_attn", ("q_proj", "k_proj", "v_proj"), "self_attn.o_proj")

LLAMA = TPPlan("layers", (ATTENTION, GATED_MLP))
QWEN3 = TPPlan("layers", (replace(ATTENTION, head_norms=("q_norm", "k_norm")), GATED_MLP))
STARCODER = TPPlan("layers", (ATTENTION, MatrixGroup("mlp", ("c_fc",), "mlp.c_proj")))
PHI = TPPlan(
    "layers",
    (
        MatrixGroup("self_attn", ("q_proj", "k_proj", "v_proj"), "self_attn.dense", ("q_layernorm", "k_layernorm")),
        MatrixGroup("mlp", ("fc1",), "mlp.fc2"),
    ),
)
# Its fused matrix has the queries, keys and values of a head side by side, so it can be split by heads too.
NEOX = TPPlan(
    "layers",
    (
        MatrixGroup("attention", ("query_key_value",), "attention.dense"),
        MatrixGroup("mlp", ("dense_h_to_4h",), "mlp.dense_4h_to_h"),
    ),
)
BERT = TPPlan(
    "layer",
    (
        MatrixGroup("attention.self", ("query", "key", "value"), "attention.output.dense"),
        MatrixGroup("intermediate", ("dense",), "output.dense"),
    ),
)
DISTILBERT = TPPlan(
    "layer",
    (
        MatrixGroup("attention", ("q_lin", "k_lin", "v_lin"), "attention.out_lin"),
        MatrixGroup("ffn", ("lin1",), "ffn.lin2"),
    ),
)

TP_PLANS: dict[str, TPPlan] = {
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

# Fused matrices (queries, keys and values, or gate and input) whose rows cannot be split into contiguous shards.
FUSED = ("c_attn", "qkv_proj", "gate_up_proj", "Wqkv", "Wi", "in_proj", "query_key_value")
