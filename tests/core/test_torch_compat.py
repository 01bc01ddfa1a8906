"""Private parts of torch: the installed torch has them, and no other file uses any."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from danlu.core import torch_compat

SOURCE = Path(torch_compat.__file__).parents[1]
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != Path(torch_compat.__file__))


def private_names(tree: ast.AST) -> list[str]:
    """Imports of torch's modules or names with an underscore, and attributes such as `torch._dynamo`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [ast.unparse(node) for name in names if name.startswith("_") and not name.startswith("__")][:1]
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            root = ast.unparse(node).split(".")[0]
            if root in ("torch", "nn", "distributed") and not node.attr.startswith("_foreach_"):
                found.append(ast.unparse(node))
    return found


def test_no_other_file_uses_private_parts_of_torch() -> None:
    used = {path.relative_to(SOURCE).as_posix(): private_names(ast.parse(path.read_text())) for path in FILES}
    assert {name: found for name, found in used.items() if found} == {}


def test_torch_has_every_foreach_that_is_used() -> None:
    used = {name for path in FILES for name in re.findall(r"torch\.(_foreach_\w+)", path.read_text())}
    assert used
    assert [name for name in sorted(used) if not hasattr(torch, name)] == []


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2)])
def test_batch_norms_share_a_base(norm: nn.Module) -> None:
    assert isinstance(norm, torch_compat.BatchNorm)
    assert isinstance(norm, torch_compat.NormWithStats)


def test_instance_norms_keep_statistics_too() -> None:
    assert isinstance(nn.InstanceNorm2d(2), torch_compat.NormWithStats)
    assert isinstance(nn.Conv1d(1, 1, 1), torch_compat.Convolution)


def test_parameters_can_be_replaced_in_place() -> None:
    layer = nn.Linear(2, 2, bias=False)
    torch_compat.parameter_dict(layer)["weight"] = nn.Parameter(torch.zeros(3, 2))
    assert layer.weight.shape == (3, 2)


def test_a_mesh_a_store_and_a_timeout_of_the_installed_torch() -> None:
    from datetime import timedelta

    from torch import distributed
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    assert callable(DeviceMesh._flatten)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        torch_compat.default_store().set("key", "value")
        mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "shard"))
        assert torch_compat.flatten_mesh(mesh["data", "shard"], "both").size() == 1
        torch_compat.set_group_timeout(timedelta(minutes=1), mesh["data"].get_group())
        value = DTensor.from_local(torch.zeros(3, 2), mesh["shard"], [Shard(0)])
        assert torch_compat.local_shape_and_offset(value) == ((3, 2), (0, 0))
    finally:
        distributed.destroy_process_group()


def test_fsdp_modules_and_replicas_are_told_apart() -> None:
    assert not torch_compat.is_replicate_module(nn.Linear(1, 1))


def test_graphs_are_counted_and_batch_sizes_marked() -> None:
    assert torch_compat.compiled_graphs() >= 0
    torch_compat.mark_dynamic(torch.zeros(4, 2))


def test_operators_and_nested_results_can_be_seen() -> None:
    class Seen(torch_compat.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: object, types: object, args: tuple = (), kwargs: dict | None = None):  # type: ignore
            results.append(str(function))
            return function(*args, **(kwargs or {}))  # type: ignore[operator]

    results: list[str] = []
    with Seen():
        torch.zeros(2) + 1
    assert any("add" in name for name in results)
    assert list(torch_compat.tree_iter({"a": (1, [2])})) == [1, 2]
