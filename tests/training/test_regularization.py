"""L1, L2 and max-norm by hand, and which weights they are of."""

import pytest
import torch
from torch import nn

from danlu.training.regularization import (
    WeightRegularizer,
    add_penalties,
    max_norm_weights,
    penalized_params,
    renorm_units,
)


def test_penalties_add_their_gradients() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -3.0, 0.0]]))
    weight.grad = torch.tensor([[0.1, 0.2, 0.3]])
    add_penalties([weight], l1=0.5, l2=0.1)
    # l2 adds 0.1 w, l1 adds 0.5 sign(w), and the sign of 0 is 0.
    torch.testing.assert_close(weight.grad, torch.tensor([[0.1 + 0.2 + 0.5, 0.2 - 0.3 - 0.5, 0.3]]))


def test_one_penalty_alone_and_none() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -4.0]]))
    for l1, l2, expected in ((0.5, 0.0, [0.5, -0.5]), (0.0, 0.5, [1.0, -2.0]), (0.0, 0.0, [0.0, 0.0])):
        weight.grad = torch.zeros(1, 2)
        add_penalties([weight], l1, l2)
        assert weight.grad.tolist() == [expected]


def test_weights_that_a_step_did_not_use_are_left_out() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    add_penalties([weight], 1.0, 1.0)
    assert weight.grad is None


def test_biases_norms_and_frozen_weights_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 1))
    model[2].weight.requires_grad_(False)
    assert [id(value) for value in penalized_params(model)] == [id(model[0].weight), id(model[3].weight)]
    bias = model[0].bias
    bias.grad = torch.zeros(2)
    WeightRegularizer(model, 1.0, 1.0, None).add_penalty_grad(bias)
    assert bias.grad.tolist() == [0.0, 0.0]


def test_each_unit_is_scaled_to_the_largest_norm() -> None:
    layer = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.6, 0.8]]))
    renorm_units(max_norm_weights(layer), 1.0)
    torch.testing.assert_close(layer.weight.data, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]]))


def test_embeddings_have_no_largest_norm_and_transposed_layers_count_their_columns() -> None:
    model = nn.ModuleList([nn.Embedding(4, 2), nn.ConvTranspose1d(3, 5, 2), nn.Conv1d(3, 5, 2), nn.LayerNorm(3)])
    assert [(tuple(one.weight.shape), one.unit_dim) for one in max_norm_weights(model)] == [
        ((3, 5, 2), 1),
        ((5, 3, 2), 0),
    ]


def test_bound_of_the_whole_model_and_of_one_stepped_weight() -> None:
    model = nn.Linear(2, 1, bias=True)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0]]))
    stepped = torch.tensor([[6.0, 8.0]])
    penalties = WeightRegularizer(model, 0.0, 0.0, 2.0)
    penalties.apply_max_norm_to(model.weight, stepped)
    assert stepped.tolist() == [pytest.approx([1.2, 1.6])]
    bias = torch.tensor([9.0])
    penalties.apply_max_norm_to(model.bias, bias)
    assert bias.tolist() == [9.0]
    penalties.apply_max_norm()
    assert model.weight.tolist() == [pytest.approx([1.2, 1.6])]
