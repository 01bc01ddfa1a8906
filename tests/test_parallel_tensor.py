"""Matrices split among processes train as whole ones do: losses, gradient norms and weights."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from danlu.training.parallel.tensor import parallelize_tensor
from tests.parallel_models import classifier, corpus_batches, deviation, language_model, text_batches, train
from tests.processes import together

STEPS = 6
TOLERANCE = 1e-5  # relative, fp32


def cases(cases: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [case(**given) for given in cases]


def case(kind: str, name: str, optimizer: str, sequence: bool, config: dict[str, Any], smoothing: float = 0.0, shard: int = 1) -> dict[str, float]:
    model = language_model(name, **config) if kind == "language" else classifier(name, **config)
    batches = corpus_batches(STEPS, False) if kind == "language" else text_batches(STEPS)
    head = "language-modelling" if kind == "language" else "classification"
    wanted = train(copy.deepcopy(model), batches, optimizer, head, smoothing)
    ways = torch.distributed.get_world_size() // shard
    mesh = init_device_mesh("cpu", (shard, ways), mesh_dim_names=("shard", "tensor"))
    parallelize_tensor(model, mesh["tensor"], sequence)
    found = train(model, batches, optimizer, head, smoothing)
    return deviation(found, wanted)


if __name__ == "__main__":
    import sys, tempfile
    todo = [dict(kind="language", name="llama", optimizer=o, sequence=s, config={"num_key_value_heads": 2}) for o in ("sgd","adamw") for s in (False, True)]
    todo += [dict(kind="text", name="bert", optimizer=o, sequence=s, config={"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0}) for o in ("sgd","adamw") for s in (False, True)]
    for line, t in zip(together(2, "tests.test_parallel_tensor:cases", Path(tempfile.mkdtemp()), cases=todo)[0], todo): print(t["name"], t["optimizer"], t["sequence"], line)
