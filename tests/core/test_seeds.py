"""Seeds: the same numbers on every machine and for ever, since runs on disk are repeated by them."""

import hashlib

import pytest

from danlu.core.seeds import Seed


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [(7, ("order", 0), "7/order/0"), (0, ("step", 12), "0/step/12"), (7, (), "7"), (-3, ("a", "b"), "-3/a/b")],
)
def test_a_derived_seed_is_the_digest_of_its_path(value: int, path: tuple[str | int, ...], text: str) -> None:
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    number = 0
    for byte in digest:
        number = number * 256 + byte
    assert Seed(value).derive(*path) == Seed(number // 2)  # 63 bits, as torch's generators take them


def test_pinned_values() -> None:
    assert Seed(0).derive("split").value == 1947725093899964015
    assert Seed(7).derive("order", 0).value == 3760711855866516816
    assert Seed(0).derive("step", 1).value == 2752179012869973653


def test_other_paths_give_other_seeds() -> None:
    paths = [("step", 1), ("step", 2), ("step", 12), ("order", 1), ("step",), ("step", 1, 2), ()]
    assert len({Seed(0).derive(*path).value for path in paths}) == len(paths)
    assert Seed(0).derive("step", 1) != Seed(1).derive("step", 1)
    assert Seed(0).derive("a").derive("b") != Seed(0).derive("a", "b")


def test_seeds_fit_into_63_bits() -> None:
    assert all(0 <= Seed(0).derive("step", step).value < 2**63 for step in range(1000))
    assert any(Seed(0).derive("step", step).value >= 2**62 for step in range(20))
