"""Gradient boosted trees: fitted by LightGBM, predicted by torch from LightGBM's own text file.

Reading the file does not need LightGBM, so neither does a bundle.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import nn

from danlu.models.base import FitData, Rows
from danlu.models.tabular.tree_arrays import boosted_groups, read_boosted_trees, read_node_counts
from danlu.models.tabular.tree_ensemble import TreeEnsemble


class BoostedTrees(TreeEnsemble):
    """Predict with LightGBM's trees.

    Two classes have one tree per round, for the log odds of the second; more classes one tree per class and round.

    Attributes:
        text: LightGBM's text file.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__(groups=boosted_groups(outputs), width=1, zero_first=outputs == 2)
        self.text = ""

    def load_text(self, text: str) -> None:
        """Load the trees of LightGBM's text file.

        Raises:
            ArtifactError: it is not such a file, or has another number of outputs.
        """
        self.set_trees(read_boosted_trees(text, self.groups))
        self.text = text

    def node_counts(self) -> np.ndarray:
        """Return how many training rows reached each node, [nodes]."""
        return read_node_counts(self.text)


class BoostingFit:
    """Fit LightGBM round by round.

    Args:
        data: training and validation rows.
        rounds: most rounds.
        options: LightGBM's parameters that the recipe sets.
    """

    def __init__(self, data: FitData, rounds: int, options: Mapping[str, float]) -> None:
        import lightgbm

        self.data, self.num_rounds, self.options = data, rounds, options
        numbers = data.inputs.numeric
        self.train = lightgbm.Dataset(
            _matrix(data.train),
            data.train.target,
            weight=data.sample_weights,
            categorical_feature=list(range(numbers, numbers + len(data.inputs.cardinalities))),
            free_raw_data=True,
            params={"verbosity": -1},
        )
        self.validation = _matrix(data.validation)
        self.sums = np.zeros((len(self.validation), max(1, data.outputs if data.outputs > 2 else 1)))
        self.first, self.earlier = 0, None
        if data.start is None:
            self.booster = lightgbm.Booster(self._settings(), self.train)
            return
        assert isinstance(data.start, BoostedTrees)
        self.earlier = lightgbm.Booster(model_str=data.start.text)
        self.first = self.earlier.current_iteration()
        if len(self.validation):
            self.sums += np.asarray(self.earlier.predict(self.validation, raw_score=True)).reshape(self.sums.shape)

    def _settings(self) -> dict[str, Any]:
        outputs = self.data.outputs
        objective = {1: "regression", 2: "binary"}.get(outputs, "multiclass")
        return {
            "objective": objective,
            **({"num_class": outputs} if outputs > 2 else {}),
            **self.options,
            "seed": self.data.seed.derive("boosting").value % 2**31,
            "num_threads": self.data.num_threads,
            "deterministic": True,
            "force_row_wise": True,  # else LightGBM times both layouts, and the choice decides the last bits
            "verbosity": -1,
        }

    def iter_rounds(self) -> Iterator[float]:
        for done in range(self.num_rounds):
            finished = self._add_round()
            if finished and done:  # no split improves the loss, and no later round changes that
                return
            if len(self.validation):
                added = self.booster.predict(
                    self.validation, start_iteration=self.first + done, num_iteration=1, raw_score=True
                )
                self.sums += np.asarray(added).reshape(len(self.validation), -1)
            yield float(self.booster.eval_train()[0][2])

    def _add_round(self) -> bool:
        """Add a round; return whether no split improved the loss.

        Only `lightgbm.train` goes on from an earlier model, and it adds at least one round.
        """
        import lightgbm

        if self.earlier is None:
            return bool(self.booster.update())
        self.booster = lightgbm.train(
            self._settings(), self.train, num_boost_round=1, init_model=self.earlier, keep_training_booster=True
        )
        self.earlier = None
        return False

    def validation_scores(self) -> np.ndarray:
        if self.data.outputs == 2:
            return np.concatenate([np.zeros_like(self.sums), self.sums], axis=1)
        return self.sums

    def load_rounds_into(self, network: nn.Module, num_rounds: int) -> None:
        assert isinstance(network, BoostedTrees)
        network.load_text(self.booster.model_to_string(num_iteration=self.first + num_rounds))


def _matrix(rows: Rows) -> np.ndarray:
    """Concatenate numbers and codes as LightGBM's features, [rows, features] float32."""
    return np.concatenate([rows.numeric, rows.codes.astype(np.float32)], axis=1)
