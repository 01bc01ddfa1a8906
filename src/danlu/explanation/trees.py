"""Exact SHAP values of tree ensembles, from their node arrays.

A leaf is reached by a coalition if every column on its path agrees, for the row where it is present and for the
background where it is absent. So a leaf is a small game of the columns on its path with a closed form (Lundberg et al.
2020, https://arxiv.org/abs/1905.04610; interventional: its section "independent"). Columns, not features, are players:
a column that became several features is present or absent with all of them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from danlu.models.tabular.tree_ensemble import TreeEnsemble

MAX_CELLS = 2**24  # conditions x background rows at once


@dataclass(frozen=True)
class Paths:
    """Hold the paths of some trees' leaves as conditions, sorted by leaf and column.

    Attributes:
        nodes: the node of each condition, [conditions].
        goes_left: the direction that it asks for, [conditions].
        slot_starts: the first condition of each pair of a leaf and a column on its path, [slots].
        slot_columns: its column, [slots].
        leaf_starts: the first slot of each leaf, [leaves].
        leaves: the nodes of the leaves, [leaves]; trees of a single leaf are left out.
        groups: the group that each leaf's tree adds to, [leaves].
    """

    nodes: np.ndarray
    goes_left: np.ndarray
    slot_starts: np.ndarray
    slot_columns: np.ndarray
    leaf_starts: np.ndarray
    leaves: np.ndarray
    groups: np.ndarray


def collect_paths(network: "TreeEnsemble", owners: np.ndarray) -> Paths:
    """Collect the conditions on the way to each leaf.

    Args:
        owners: the column of each feature, [features].
    """
    left, right = network.left.cpu().numpy(), network.right.cpu().numpy()
    columns = owners[network.feature.cpu().numpy()]
    found: list[tuple[list[tuple[int, int, bool]], int, int]] = []
    for tree, root in enumerate(network.roots.cpu().numpy().tolist()):
        stack: list[tuple[int, list[tuple[int, int, bool]]]] = [(root, [])]
        while stack:
            node, path = stack.pop()
            if left[node] == node:
                if path:
                    found.append((sorted(path), node, tree % network.groups))
                continue
            column = int(columns[node])
            stack.append((int(right[node]), [*path, (column, node, False)]))
            stack.append((int(left[node]), [*path, (column, node, True)]))
    conditions = [(leaf, *condition) for leaf, (path, _, _) in enumerate(found) for condition in path]
    table = np.array(conditions, dtype=np.int64).reshape(-1, 4)
    new_slot = np.ones(len(table), dtype=bool)
    new_slot[1:] = (table[1:, :2] != table[:-1, :2]).any(axis=1)
    starts = np.flatnonzero(new_slot)
    slot_leaves = table[starts, 0]
    return Paths(
        table[:, 2],
        table[:, 3].astype(bool),
        starts,
        table[starts, 1],
        np.flatnonzero(np.diff(slot_leaves, prepend=-1)),
        np.array([leaf for _, leaf, _ in found], dtype=np.int64),
        np.array([group for _, _, group in found], dtype=np.int64),
    )


def interventional_tree_values(
    network: "TreeEnsemble", row: np.ndarray, background: np.ndarray, owners: np.ndarray, columns: int
) -> np.ndarray:
    """Compute SHAP values of the network's outputs, [columns, outputs] float64.

    Args:
        row: features of the row, [1, features] float32.
        background: features of the background rows, [rows, features].
        owners: the column of each feature, [features].
        columns: number of columns.
    """
    paths = collect_paths(network, owners)
    slots = np.zeros(len(paths.slot_columns))
    agrees = _agrees(network, paths, row)[0]
    size = max(1, MAX_CELLS // max(len(paths.nodes), 1))
    for start in range(0, len(background), size):
        others = _agrees(network, paths, background[start : start + size])
        slots += _slot_weights(agrees, others, paths).sum(axis=0)
    return _sum_slots(network, paths, slots / len(background), columns)


def path_dependent_tree_values(
    network: "TreeEnsemble", row: np.ndarray, counts: np.ndarray, owners: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute SHAP values where absent columns follow both branches by their training rows.

    They are what LightGBM calls `pred_contrib`.

    Args:
        row: features of the row, [1, features] float32.
        counts: training rows of each node, [nodes].

    Returns:
        the values, [columns, outputs] float64, and the mean output that they start from, [outputs].
    """
    paths = collect_paths(network, owners)
    left, right = network.left.cpu().numpy(), network.right.cpu().numpy()
    agrees = _agrees(network, paths, row)[0].astype(np.float64)
    chosen = np.where(paths.goes_left, left[paths.nodes], right[paths.nodes])
    shares = np.multiply.reduceat(counts[chosen] / counts[paths.nodes], paths.slot_starts)
    lengths = np.diff(np.append(paths.leaf_starts, len(shares)))
    slots = np.zeros(len(shares))
    for length in np.unique(lengths):
        places = paths.leaf_starts[lengths == length][:, None] + np.arange(length)
        slots[places] = _product_game(agrees[places], shares[places])
    values = _sum_slots(network, paths, slots, columns)
    reached = np.multiply.reduceat(shares, paths.leaf_starts)
    mean = _sum_leaves(network, paths, reached)
    single = [root for root in network.roots.tolist() if int(left[root]) == root]
    for tree, root in enumerate(network.roots.tolist()):
        if root in single:
            place = tree % network.groups * network.width + int(network.zero_first)
            mean[place : place + network.width] += network.value[root].double().cpu().numpy()
    return values, mean


def _product_game(present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Return Shapley values of products of a factor per player, [games, players]."""
    from math import factorial

    players = present.shape[1]
    weights = np.array([factorial(k) * factorial(players - 1 - k) / factorial(players) for k in range(players)])
    found = np.empty_like(present)
    for player in range(players):
        sums = np.zeros((len(present), players))  # by how many of the others are present
        sums[:, 0] = 1.0
        for other in range(players):
            if other != player:
                moved = np.concatenate([np.zeros((len(present), 1)), sums[:, :-1]], axis=1)
                sums = sums * absent[:, [other]] + moved * present[:, [other]]
        found[:, player] = (present[:, player] - absent[:, player]) * (sums @ weights)
    return found


def _agrees(network: "TreeEnsemble", paths: Paths, features: np.ndarray) -> np.ndarray:
    """Return whether rows meet all conditions of each slot, [rows, slots] bool."""
    import torch

    with torch.inference_mode():
        nodes, places = np.unique(paths.nodes, return_inverse=True)
        at = torch.from_numpy(nodes).expand(len(features), -1)
        seen = torch.from_numpy(features).float().gather(1, network.feature.cpu()[at])
        left = torch.where(seen.isnan(), network.missing_left.cpu()[at], seen <= network.threshold.cpu()[at])
        if network.has_category_splits:
            size = network.set_size[at]
            left = torch.where(size > 0, network.contains(seen, at, size), left)
    met = np.asarray(left)[:, places] == paths.goes_left
    return np.asarray(np.logical_and.reduceat(met, paths.slot_starts, axis=1))


def _slot_weights(row: np.ndarray, others: np.ndarray, paths: Paths) -> np.ndarray:
    """Return what a leaf's value adds to each column on its path, [background, slots].

    With `a` columns that only the row agrees on and `b` that only the background does, a column of the former gets
    (a - 1)! b! / (a + b)!, one of the latter -a! (b - 1)! / (a + b)!; a leaf that neither reaches gets nothing.
    """
    from scipy.special import betaln

    only_row, only_other = row & ~others, ~row & others
    lengths = np.diff(np.append(paths.leaf_starts, others.shape[1]))
    present = np.add.reduceat(only_row, paths.leaf_starts, axis=1, dtype=np.int64)
    absent = np.add.reduceat(only_other, paths.leaf_starts, axis=1, dtype=np.int64)
    reached = np.logical_and.reduceat(row | others, paths.leaf_starts, axis=1)
    most = int(lengths.max(initial=0)) + 1
    sizes = np.arange(most + 1)
    with np.errstate(invalid="ignore", over="ignore"):
        table = np.exp(betaln(np.maximum(sizes[:, None], 1e-300), sizes[None, :] + 1))  # (a - 1)! b! / (a + b)!
    gain = np.where(reached, table[present, absent], 0.0)
    loss = np.where(reached, table[absent, present], 0.0)
    spread = np.repeat(np.arange(len(lengths)), lengths)
    return np.where(only_row, gain[:, spread], 0.0) - np.where(only_other, loss[:, spread], 0.0)


def _sum_slots(network: "TreeEnsemble", paths: Paths, slots: np.ndarray, columns: int) -> np.ndarray:
    """Sum what leaves give to columns, [columns, outputs]."""
    lengths = np.diff(np.append(paths.leaf_starts, len(slots)))
    values = network.value.double().cpu().numpy()[np.repeat(paths.leaves, lengths)] * slots[:, None]
    found = np.zeros((columns, network.groups, network.width))
    np.add.at(found, (paths.slot_columns, np.repeat(paths.groups, lengths)), values)
    flat = found.reshape(columns, -1)
    return np.concatenate([np.zeros((columns, 1)), flat], axis=1) if network.zero_first else flat


def _sum_leaves(network: "TreeEnsemble", paths: Paths, weights: np.ndarray) -> np.ndarray:
    """Sum weighted leaves, [outputs]."""
    found = np.zeros((network.groups, network.width))
    np.add.at(found, paths.groups, network.value.double().cpu().numpy()[paths.leaves] * weights[:, None])
    flat = found.ravel()
    return np.concatenate([np.zeros(1), flat]) if network.zero_first else flat
