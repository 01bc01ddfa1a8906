"""Which tokens may be drawn, by hand, and how they are."""

import pytest
import torch

from danlu.core.seeds import Seed
from danlu.models.sampling import Sampling, logits_processors

SHARES = torch.tensor([[0.1, 0.4, 0.3, 0.15, 0.05]])


def allowed(sampling: Sampling, shares: torch.Tensor = SHARES) -> list[int]:
    """The tokens that are left for the draw."""
    some = logits_processors(sampling, [Seed(0)], torch.zeros(1, dtype=torch.int64), torch.device("cpu"))
    scores = shares.log()
    for processor in some[:-1]:  # without the draw itself
        scores = processor(torch.zeros(1, 1, dtype=torch.int64), scores)
    return torch.isfinite(scores[0]).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0, 1, 2, 3, 4]),
        (Sampling(top_k=1), [1]),
        (Sampling(top_k=3), [1, 2, 3]),
        (Sampling(top_p=0.65), [1, 2]),
        (Sampling(top_p=0.75), [1, 2, 3]),
        (Sampling(top_p=0.39), [1]),
        (Sampling(min_p=0.5), [1, 2]),  # at least 0.2
        (Sampling(min_p=0.3), [1, 2, 3]),  # at least 0.12
        (Sampling(top_k=3, min_p=0.5), [1, 2]),
        # At temperature 2 shares are in proportion to their roots, 0.15, 0.29, 0.25, 0.18, 0.10 of 1.
        (Sampling(temperature=2.0, top_p=0.6), [1, 2, 3]),
        (Sampling(temperature=0.5, top_p=0.6), [1, 2]),
    ],
)
def test_tokens_that_are_left(sampling: Sampling, expected: list[int]) -> None:
    assert allowed(sampling) == expected


def test_temperature_0_takes_the_likeliest() -> None:
    none = torch.zeros(1, dtype=torch.int64)
    assert len(logits_processors(Sampling(temperature=0.0, top_k=2), [Seed(0)], none, torch.device("cpu"))) == 0


def test_repetition_divides_the_scores_of_what_stands_there_but_not_of_padding() -> None:
    sampling = Sampling(temperature=0.0, repetition_penalty=2.0)
    some = logits_processors(sampling, [Seed(0)], torch.tensor([1]), torch.device("cpu"))
    scores = torch.tensor([[1.0, -1.0, 3.0, -3.0]])
    found = some(torch.tensor([[0, 2, 3]]), scores.clone())  # the 0 in front is padding
    assert found.tolist() == [[1.0, -1.0, 1.5, -6.0]]


def drawn(seeds: list[Seed], shares: torch.Tensor) -> list[int]:
    none = torch.zeros(len(seeds), dtype=torch.int64)
    some = logits_processors(Sampling(), seeds, none, torch.device("cpu"))
    found: list[int] = some(torch.zeros(len(seeds), 1, dtype=torch.int64), shares.log()).argmax(dim=1).tolist()
    return found


def test_draws_follow_the_shares() -> None:
    count = 4000
    found = drawn([Seed(index) for index in range(count)], SHARES.expand(count, -1))
    shares = torch.bincount(torch.tensor(found), minlength=5) / count
    torch.testing.assert_close(shares, SHARES[0], atol=0.03, rtol=0)


def test_a_texts_draws_follow_from_its_own_seed() -> None:
    seeds = [Seed(index) for index in range(20)]
    alone = [drawn([seed], SHARES)[0] for seed in seeds]
    assert drawn(seeds, SHARES.expand(20, -1)) == alone
    before = torch.random.get_rng_state()
    drawn(seeds, SHARES.expand(20, -1))
    assert torch.equal(torch.random.get_rng_state(), before)
