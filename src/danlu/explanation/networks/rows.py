"""A row of a network's data as methods take it: players that may be absent, and a function with gradients.

Methods know this file and none of the kinds of data; `images` and `texts` make the rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.explanation.games import Game
from danlu.explanation.networks.readout import Readout
from danlu.explanation.results import LocalExplanation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from danlu.models.predictor import Predictor

ORIGIN = "explanation"


class Incomplete(Exception):
    """Say that values which are to add up to an answer do not."""


@dataclass(frozen=True)
class Graph:
    """Hold what gradients are taken of.

    Attributes:
        function: inputs [n, ...] -> the score, [n].
        network: the bundle's network, which `function` calls.
        own: the row, [1, ...] float32.
        baseline: what stands for an absent input, [1, ...].
        references: other rows that do, [references, ...]; the baseline alone where there are none.
    """

    function: "nn.Module"
    network: "nn.Module"
    own: "Tensor"
    baseline: "Tensor"
    references: "Tensor"


@dataclass(frozen=True)
class Attribution:
    """Hold what a method says of a row.

    Attributes:
        values: of the players, [players], or of an image's pixels, [height, width].
        estimator: how they were computed.
        scale: `probability`, `number` or `score`.
        base: the answer without any player, or to the baseline.
        answer: the answer to the row.
        half_widths: of 95 % intervals, shaped as the values; None where there are none.
        completeness_error: how far values and base are from the answer; None where they are not to add up.
        calls: rows that the network answered.
        exact: whether nothing was sampled.
        wanted_error: the half width that was asked for.
        fidelity: of a local model.
        layer: that the values were taken of.
    """

    values: np.ndarray
    estimator: str
    scale: str
    base: float
    answer: float
    half_widths: np.ndarray | None = None
    completeness_error: float | None = None
    calls: int = 0
    exact: bool = False
    wanted_error: float | None = None
    fidelity: float | None = None
    layer: str | None = None


class NetworkRow(ABC):
    """Show a row of data to methods.

    Attributes:
        number: of the row in its source.
        readout: which number of the outputs is explained.
    """

    number: int
    readout: Readout

    @property
    @abstractmethod
    def players(self) -> int:
        """How many words or segments may be absent."""

    @abstractmethod
    def values(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the number where only the players of coalitions, [calls, players], are there, [calls] float64."""

    @abstractmethod
    def graph(self) -> Graph:
        """Return what gradients are taken of."""

    @abstractmethod
    def fold(self, attributions: np.ndarray) -> np.ndarray:
        """Bring attributions, shaped as `Graph.own` without its batch, to players or pixels."""

    @abstractmethod
    def rolled_out(self) -> np.ndarray | None:
        """Return each player's or pixel's share of attention; None without attention."""

    @abstractmethod
    def of_players(self, values: np.ndarray) -> np.ndarray:
        """Sum values of players or pixels by player, [players]."""

    @abstractmethod
    def dummies(self) -> dict[str, np.ndarray]:
        """Return sizes of players that know nothing of the model, by name, [players] each."""

    @abstractmethod
    def describe(self, method: str, found: Attribution) -> LocalExplanation:
        """Return the result of a method in the terms of the data."""

    @abstractmethod
    def near(self, seed: Seed, least: int) -> "NetworkRow":
        """Return a row with the same players that hardly differs.

        Args:
            least: the player that matters least.
        """

    @abstractmethod
    def in_network(self, rows: "NetworkRows") -> "NetworkRow":
        """Return the row as another network answers it, the same number of its outputs read."""

    def refilled(self, kept: np.ndarray) -> np.ndarray:
        """Return the number where absent players of coalitions, [calls, players], look as usual, [calls]."""
        return self.values(kept)

    def game(self) -> Game:
        """Return the game of the row's players."""
        return Game(self.players, self.values)

    def ends(self) -> tuple[float, float]:
        """Return the number without any player, and with all."""
        empty, full = self.values(np.array([[False] * self.players, [True] * self.players])).tolist()
        return empty, full


class NetworkRows(ABC):
    """Make the rows of one kind of data.

    Attributes:
        noun: what its players are called, in the plural.
    """

    noun: ClassVar[str]

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor = predictor

    @abstractmethod
    def with_network(self, network: "nn.Module") -> "NetworkRows":
        """Return the same of another network."""

    @abstractmethod
    def rows(self, frame: pl.DataFrame, numbers: Sequence[int], label: str | None) -> Iterator[NetworkRow]:
        """Prepare rows one after the other.

        Args:
            frame: the rows, as they were read.
            numbers: their numbers in the source.
            label: the label, output or token; None for what is predicted.

        Raises:
            ArgumentError: there is no such label, or a row has nothing to explain.
            DataError: a row cannot be read.
        """

    def kept_rows(self) -> pl.DataFrame | None:
        """Return the raw golden samples, whose inputs the bundle keeps."""
        from danlu.models.golden import golden_inputs

        golden = self.predictor.bundle.golden()
        return None if golden is None else golden_inputs(golden, self.predictor.preprocessor.columns)


def local_explanation(row: NetworkRow, method: str, found: Attribution, **others: Any) -> LocalExplanation:
    """Return a method's result with what all kinds of data have."""
    return LocalExplanation(
        row=row.number,
        label=row.readout.label,
        scale=found.scale,
        estimator=found.estimator,
        exact=found.exact,
        base=found.base,
        answer=found.answer,
        completeness_error=found.completeness_error,
        calls=found.calls,
        reached_error=0.0 if found.half_widths is None else float(np.max(found.half_widths)),
        wanted_error=found.wanted_error,
        fidelity=found.fidelity,
        layer=found.layer,
        method=method,
        **{"values": (), **others},
    )
