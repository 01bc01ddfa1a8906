"""Balance tables by synthetic rows, and by removing rows that lie among another class.

In: the prepared training split, so that distances are of scaled numbers. Out: the same rows in the same order, less
those removed, with synthetic ones after them. The methods are imbalanced-learn's.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from danlu.core.seeds import Seed
from danlu.data.balance.base import Balancer
from danlu.data.balance.resampling import Ratio, target_counts
from danlu.data.messages import reason
from danlu.errors import DataError

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset

MISMATCH = 0.5**0.5  # different categories differ in two columns, and so lie one standard deviation apart


class _TabularBalancer(Balancer):
    kinds: ClassVar[tuple[str, ...]] = ("tabular",)
    uses_distances: ClassVar[bool] = True


class _Synthetic(_TabularBalancer):
    """Add synthetic rows to smaller classes, up to `ratio` times the largest class."""

    neighbors: PositiveInt = 5
    ratio: Ratio = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.synthetic", ratio=self.ratio, method=self.name)

    def resample(self, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed) -> "PreparedDataset":
        return _synthesise(self, examples, labels, seed)


class Smote(_Synthetic):
    """Interpolate between rows of a smaller class and their nearest neighbours (SMOTE).

    Chawla et al. 2002, https://arxiv.org/abs/1106.1813. Numbers are interpolated; a category is the most frequent of
    the neighbours' (SMOTENC). Every smaller class gets `ratio` times the rows of the largest.
    """

    name: Literal["smote"] = "smote"


class BorderlineSmote(_Synthetic):
    """Apply SMOTE only to rows whose neighbours are mostly of other classes.

    Han et al. 2005, https://doi.org/10.1007/11538059_91. Numbers alone. A class without such rows stays as it is.
    """

    name: Literal["borderline-smote"] = "borderline-smote"

    @property
    def effect(self) -> str:
        return reason("balance.borderline")


class Adasyn(_Synthetic):
    """Add more synthetic rows where a class is harder to learn (ADASYN).

    He et al. 2008, https://doi.org/10.1109/IJCNN.2008.4633969. The wanted size is met roughly. Numbers alone.
    """

    name: Literal["adasyn"] = "adasyn"

    @property
    def effect(self) -> str:
        return reason("balance.adasyn")


class Tomek(_TabularBalancer):
    """Remove rows of larger classes in Tomek links (Tomek 1976).

    A Tomek link is two rows of different classes that are each other's nearest neighbour
    (https://doi.org/10.1109/TSMC.1976.4309452).
    """

    name: Literal["tomek"] = "tomek"

    @property
    def effect(self) -> str:
        return reason("balance.tomek")

    def resample(self, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed) -> "PreparedDataset":
        from imblearn.under_sampling import TomekLinks

        return _keep_rows(TomekLinks(), examples, labels, self.name)


class EditedNearestNeighbours(_TabularBalancer):
    """Remove rows of larger classes unless all `neighbors` share their class.

    Edited nearest neighbours (Wilson 1972, https://doi.org/10.1109/TSMC.1972.4309137).
    """

    name: Literal["enn"] = "enn"
    neighbors: PositiveInt = 3

    @property
    def effect(self) -> str:
        return reason("balance.enn")

    def resample(self, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed) -> "PreparedDataset":
        return _edit(examples, labels, self.neighbors, "auto", self.name)


class SmoteTomek(_Synthetic):
    """Apply SMOTE, then remove both rows of every Tomek link.

    Batista et al. 2004, https://doi.org/10.1145/1007730.1007735.
    """

    name: Literal["smote-tomek"] = "smote-tomek"

    def resample(self, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed) -> "PreparedDataset":
        from imblearn.under_sampling import TomekLinks

        return _keep_rows(
            TomekLinks(sampling_strategy="all"), super().resample(examples, labels, seed), labels, self.name
        )


class SmoteEnn(_Synthetic):
    """Apply SMOTE, then remove rows of any class unless their three neighbours share it.

    Batista et al. 2004, https://doi.org/10.1145/1007730.1007735.
    """

    name: Literal["smote-enn"] = "smote-enn"

    def resample(self, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed) -> "PreparedDataset":
        return _edit(super().resample(examples, labels, seed), labels, 3, "all", self.name)


def _synthesise(
    balancer: _Synthetic, examples: "PreparedDataset", labels: tuple[str, ...], seed: Seed
) -> "PreparedDataset":
    """Append synthetic rows to the given ones."""
    inputs, codes = _Inputs.of(examples), _codes(examples)
    counts = np.bincount(codes, minlength=len(labels))
    wanted = target_counts(counts, balancer.ratio)
    growing = {int(code): int(wanted[code]) for code in np.flatnonzero(wanted > counts)}
    if not growing:
        return examples
    smallest = min(growing, key=lambda code: int(counts[code]))
    if counts[smallest] <= balancer.neighbors:
        lower = f"set data.balance.neighbors to at most {counts[smallest] - 1}, " if counts[smallest] > 1 else ""
        raise DataError(
            f"class {labels[smallest]!r} has {counts[smallest]} training sample(s); {balancer.name} with "
            f"{balancer.neighbors} neighbors needs at least {balancer.neighbors + 1}: {lower}gather more samples, "
            "or use oversample or class-weights",
            code="DL254",
        )
    sampler = _sampler(balancer, inputs, growing, seed)
    try:
        resampled, grown = sampler.fit_resample(inputs.joined, codes)
    except (ValueError, RuntimeError) as error:
        if not isinstance(balancer, Adasyn):
            raise
        # ADASYN distributes synthetic rows by neighbours of other classes; without such neighbours there are none.
        raise DataError(
            f"adasyn makes no rows here: no row of a smaller class has a neighbor of another class among its "
            f"{balancer.neighbors}; use smote, or more neighbors",
            code="DL254",
        ) from error
    return inputs.extended(examples, resampled[len(codes) :], grown[len(codes) :])


def _sampler(balancer: _Synthetic, inputs: "_Inputs", growing: dict[int, int], seed: Seed) -> Any:
    """Build imbalanced-learn's sampler for these columns."""
    from imblearn.over_sampling import ADASYN, SMOTE, SMOTEN, SMOTENC, BorderlineSMOTE

    options = {"sampling_strategy": growing, "random_state": seed.value % 2**32}
    numbers, categories = inputs.numbers.shape[1], inputs.categories.shape[1]
    if isinstance(balancer, Adasyn | BorderlineSmote):
        if categories:
            raise DataError(
                f"{balancer.name} interpolates numbers, and {categories} of the {numbers + categories} inputs are "
                "categories; use smote, which handles both",
                code="DL254",
            )
        if isinstance(balancer, Adasyn):
            return ADASYN(n_neighbors=balancer.neighbors, **options)
        return BorderlineSMOTE(k_neighbors=balancer.neighbors, **options)
    if not categories:
        return SMOTE(k_neighbors=balancer.neighbors, **options)
    if not numbers:
        return SMOTEN(k_neighbors=balancer.neighbors, **options)
    columns = list(range(numbers, numbers + categories))
    return SMOTENC(categorical_features=columns, k_neighbors=balancer.neighbors, **options)


def _edit(
    examples: "PreparedDataset", labels: tuple[str, ...], neighbors: int, strategy: str, name: str
) -> "PreparedDataset":
    from imblearn.under_sampling import EditedNearestNeighbours as Edited

    if len(examples) <= neighbors:
        raise DataError(
            f"{name} with {neighbors} neighbors needs more than the {len(examples)} training samples here", code="DL254"
        )
    return _keep_rows(Edited(sampling_strategy=strategy, n_neighbors=neighbors), examples, labels, name)


def _keep_rows(cleaner: Any, examples: "PreparedDataset", labels: tuple[str, ...], name: str) -> "PreparedDataset":
    """Return the rows that a cleaner keeps, in their order.

    Raises:
        DataError: it would keep no row of a class.
    """
    codes = _codes(examples)
    cleaner.fit_resample(_Inputs.of(examples).one_hot, codes)
    rows = np.sort(cleaner.sample_indices_)
    lost = np.setdiff1d(codes, codes[rows])
    if len(lost):
        count = int((codes == lost[0]).sum())
        raise DataError(
            f"{name} would remove all {count} training samples of class {labels[lost[0]]!r}, which lie among other "
            "classes; use class-weights or oversample",
            code="DL254",
        )
    return _take(examples, rows)


def _codes(examples: "PreparedDataset") -> np.ndarray:
    assert examples.target is not None
    return examples.target.numpy()


def _take(examples: "PreparedDataset", rows: np.ndarray) -> "PreparedDataset":
    from danlu.data.loader import PreparedDataset, TensorColumn

    assert examples.target is not None
    features = tuple(TensorColumn(f.name, f.values[rows]) for f in examples.columns if isinstance(f, TensorColumn))
    return PreparedDataset(features, examples.target[rows])


class _Inputs:
    """Hold a table's inputs as arrays: numbers [rows, numeric], category codes [rows, categories]."""

    def __init__(self, numbers: np.ndarray, categories: np.ndarray) -> None:
        self.numbers, self.categories = numbers, categories

    @classmethod
    def of(cls, examples: "PreparedDataset") -> "_Inputs":
        from danlu.data.loader import TensorColumn

        known = {
            feature.name: feature.values.numpy() for feature in examples.columns if isinstance(feature, TensorColumn)
        }
        other = [
            f for f in examples.columns if not isinstance(f, TensorColumn) or f.name not in ("numeric", "categories")
        ]
        if other:
            what = getattr(other[0], "name", type(other[0]).__name__)
            raise DataError(
                f"data.balance: synthetic rows need numbers and categories alone, and one input is {what!r}",
                code="DL254",
            )
        rows = len(examples)
        numbers = known.get("numeric", np.empty((rows, 0), dtype=np.float32))
        return cls(numbers, known.get("categories", np.empty((rows, 0), dtype=np.int64)))

    @property
    def joined(self) -> np.ndarray:
        """The numbers, then the codes, [rows, inputs]; float64 holds both exactly."""
        return np.hstack([self.numbers.astype(np.float64), self.categories.astype(np.float64)])

    @property
    def one_hot(self) -> np.ndarray:
        """The numbers, then one-hot columns of every category, for distances."""
        parts = [self.numbers]
        for codes in self.categories.T:
            parts.append(MISMATCH * (codes[:, None] == np.unique(codes)).astype(np.float32))
        return np.hstack(parts)

    def extended(self, examples: "PreparedDataset", added: np.ndarray, codes: np.ndarray) -> "PreparedDataset":
        """Return the samples with rows of `joined` appended."""
        import torch

        from danlu.data.loader import PreparedDataset, TensorColumn

        assert examples.target is not None
        width = self.numbers.shape[1]
        new = {"numeric": added[:, :width].astype(np.float32), "categories": np.rint(added[:, width:]).astype(np.int64)}
        features = tuple(
            TensorColumn(feature.name, torch.cat([feature.values, torch.from_numpy(new[feature.name])]))
            for feature in examples.columns
            if isinstance(feature, TensorColumn)
        )
        answers = torch.from_numpy(np.asarray(codes, dtype=np.int64))
        return PreparedDataset(features, torch.cat([examples.target, answers]))
