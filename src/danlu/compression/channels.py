"""Remove channels of convolutions and neurons of linear layers by torch-pruning; parts of transformers by `blocks`.

Fang et al. 2023, DepGraph, https://arxiv.org/abs/2301.12900: what depends on a channel is removed with it.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from danlu.compression.base import Candidate, Material
from danlu.compression.blocks import MOST_OF_A_LAYER, Score, find_groups, remove_parts, transformer_config
from danlu.compression.gradients import add_gradients, renew_batch_norms
from danlu.core.imports import require_extra, silence_libraries
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.experiment.model_summary import count_parameters
from danlu.exporters.ports import network_ports, sample_inputs
from danlu.models.structure import Convolution


@dataclass(frozen=True)
class Removal:
    """Say which channels are removed.

    Attributes:
        amount: share of the channels.
        by: magnitude, random or taylor.
        across_layers: compare the channels of all layers, not of each by itself.
        rows: training rows that taylor and batch norms look at.
    """

    amount: float
    by: str
    across_layers: bool
    rows: int


def obstacle_to_channels(candidate: Candidate) -> str | None:
    """Return why no channel can be removed from a network; None where it can."""
    if not any(isinstance(layer, nn.Linear | Convolution) for layer in candidate.network.modules()):
        return "it has no linear layer or convolution whose channels could be removed"
    return None


def remove_channels(candidate: Candidate, removal: Removal, material: Material, seed: Seed) -> tuple[Candidate, str]:
    """Remove a share of the channels, and take the statistics of batch norms anew.

    Returns:
        the smaller candidate, and a sentence about it.

    Raises:
        ArgumentError: the network cannot be followed, or nothing of it can be removed.
    """
    network = deepcopy(candidate.network)
    before, groups = count_parameters(network), find_groups(network)
    if groups:
        score = _score(network, removal, material, seed)
        remove_parts(groups, removal.amount, score, across_layers=removal.across_layers)
        network.zero_grad(set_to_none=True)
    elif transformer_config(network) is None:
        require_extra("compress", "removing channels", only=("torch_pruning",))
        _prune(network, removal, material, seed)
    after = count_parameters(network)
    if before == after:
        raise ArgumentError(
            f"prune: no channel of {candidate.options.name} can be removed: its layers have too few, all of them are "
            "its input or answer, or they are unknown by name; use what: weights, or a smaller model",
            code="DL409",
        )
    renew_batch_norms(network, material, removal.rows, seed)
    note = f"{after:,} of {before:,} parameters are left"
    return candidate.resized(network, material), note


def _score(network: nn.Module, removal: Removal, material: Material, seed: Seed) -> Score:
    """Return what makes of a weight the worth of its entries."""
    if removal.by == "random":
        drawn = torch.Generator().manual_seed(seed.value)
        return lambda weight: torch.rand(weight.shape, generator=drawn)
    if removal.by == "magnitude":
        return lambda weight: weight.detach() ** 2
    add_gradients(network, material, removal.rows, seed)
    return lambda weight: torch.zeros_like(weight) if weight.grad is None else (weight.detach() * weight.grad) ** 2


def _prune(network: nn.Module, removal: Removal, material: Material, seed: Seed) -> None:
    """Remove channels in place."""
    import torch_pruning

    inputs = material.predictor.preprocessor.inputs
    ports, samples = network_ports(inputs), sample_inputs(inputs)
    given = {port.name: values for port, values in zip(ports, samples, strict=True)}
    for weight in network.parameters():
        weight.requires_grad_(weight.is_floating_point())
    importance: Any = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    if removal.by == "taylor":
        importance = torch_pruning.importance.GroupTaylorImportance()
    elif removal.by == "random":
        torch.manual_seed(seed.value)
        importance = torch_pruning.importance.RandomImportance()
    try:
        with torch.no_grad():
            answer: Any = network(**given)
        with silence_libraries():
            pruner = torch_pruning.pruner.BasePruner(
                network,
                given,
                importance,
                global_pruning=removal.across_layers,
                pruning_ratio=removal.amount,
                max_pruning_ratio=MOST_OF_A_LAYER,
                ignored_layers=_kept_whole(network, answer.shape[-1]),
                forward_fn=_call,
                output_transform=None,
            )
            if removal.by == "taylor":
                add_gradients(network, material, removal.rows, seed)
            pruner.step()
        with torch.no_grad():
            left = network(**given)
        if left.shape != answer.shape:
            raise ArgumentError(
                f"prune: {options_name(network)} would answer {list(left.shape)} in place of {list(answer.shape)}; use "
                "what: weights",
                code="DL409",
            )
    except ArgumentError:
        raise
    except Exception as error:  # networks may do anything, and torch-pruning follows what it knows
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArgumentError(
            f"prune: torch-pruning cannot follow {options_name(network)}: {reason}; use what: weights",
            code="DL409",
        ) from error
    network.zero_grad(set_to_none=True)


def _call(network: nn.Module, given: dict[str, Any]) -> Any:
    return network(**given)


def options_name(network: nn.Module) -> str:
    """Return a network's class, as a person may know it."""
    return type(getattr(network, "network", network)).__name__


def _kept_whole(network: nn.Module, outputs: int) -> list[nn.Module]:
    """Return the layers of which nothing is removed: those that answer, and embeddings.

    Whatever adds to the embeddings, as blocks of a transformer do, keeps its width with them.
    """
    found: list[nn.Module] = []
    for layer in network.modules():
        is_answer = isinstance(layer, nn.Linear | Convolution) and layer.weight.shape[0] == outputs
        if is_answer or isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            found.append(layer)
    return found
