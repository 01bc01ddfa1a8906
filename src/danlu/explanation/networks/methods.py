"""The methods that networks of images and texts can be explained by, in one table.

In: rows of a network. Out: an `Attribution` each. A further method is a class and a line of `NETWORK_METHODS`.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from danlu.core.imports import require_extra
from danlu.core.seeds import Seed
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.kind import Preprocessor
from danlu.errors import ArgumentError
from danlu.explanation.lime import fit_linear
from danlu.explanation.networks.images import ImageRow, ImageRows
from danlu.explanation.networks.rows import Attribution, NetworkRow, NetworkRows
from danlu.explanation.networks.texts import TOKENIZED, TokenRows
from danlu.explanation.shapley import FEWEST_CALLS, MAX_ENUMERATED_PLAYERS, shapley_values

USUAL_CALLS = 20  # per segment or word
AFFORDABLE = 512  # calls up to which all coalitions are asked for unasked
LIME_CALLS = 20  # per segment or word
KERNEL_WIDTH = 0.25  # of the cosine distance, as in the code of LIME's authors


@dataclass(frozen=True)
class Asked:
    """Hold what is asked of a method.

    Attributes:
        seed: of what is drawn.
        error: the half width that is enough; of numbers in standard deviations of the target.
        budget: most calls per row.
    """

    seed: Seed
    error: float | None = None
    budget: int | None = None


class NetworkMethod(Protocol):
    """Explain rows of a network in one way.

    Attributes:
        needs_captum: whether the extra `explain` has to be installed.
        of_images_alone: whether no other kind of data has it.
    """

    needs_captum: ClassVar[bool]
    of_images_alone: ClassVar[bool]

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        """Say why this network cannot be explained so; None where it can."""

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        """Explain a row.

        Raises:
            Incomplete: values do not add up to the answer.
        """


class Shap:
    """Estimate the Shapley values of segments or words."""

    needs_captum: ClassVar[bool] = False
    of_images_alone: ClassVar[bool] = False

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        return None

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        players, budget = row.players, asked.budget
        error = None if asked.error is None else asked.error * row.readout.unit
        everything = 2**players if players <= MAX_ENUMERATED_PLAYERS else AFFORDABLE + 1
        if budget is None and error is None:
            budget = everything if everything <= AFFORDABLE else USUAL_CALLS * players
        fewest = min(FEWEST_CALLS * players + 2, everything)
        if budget is not None and budget < fewest:
            raise ArgumentError(
                f"budget: {budget} calls are too few for the {players} players of row {row.number}; give at least "
                f"{fewest}",
                code="DL402",
            )
        found = shapley_values(row.game(), asked.seed, error=error, budget=budget)
        return Attribution(
            found.values,
            found.estimator,
            row.readout.scale,
            found.empty,
            found.full,
            found.half_widths,
            found.completeness_error,
            found.calls,
            found.exact,
            None if found.exact else error,
        )


class Lime:
    """Fit a linear model to answers without some segments or words.

    Ribeiro et al. 2016, https://arxiv.org/abs/1602.04938.
    """

    needs_captum: ClassVar[bool] = False
    of_images_alone: ClassVar[bool] = False

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        return None

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        players = row.players
        calls = asked.budget or max(LIME_CALLS * players, 100)
        coalitions = draw_near(players, calls, asked.seed)
        distances = 1 - np.sqrt(coalitions.mean(axis=1))
        weights = np.exp(-(distances**2) / KERNEL_WIDTH**2)
        answer = row.ends()[1]
        fit = fit_linear(coalitions.astype(np.float64) - 1, row.values(coalitions), weights)
        return Attribution(
            fit.slopes,
            "ridge",
            row.readout.scale,
            fit.intercept,
            answer,
            fit.half_widths,
            calls=calls,
            fidelity=fit.fidelity,
        )


def draw_near(players: int, calls: int, seed: Seed) -> np.ndarray:
    """Draw coalitions without one player or more, [calls, players] bool; all sizes alike."""
    rng = np.random.default_rng(seed.derive("lime").value)
    sizes = rng.integers(1, players + 1, calls)
    return np.asarray(rng.random((calls, players)).argsort(axis=1).argsort(axis=1) >= sizes[:, None])


class Occlusion:
    """Say what the answer loses without each word, or with squares of an image covered."""

    needs_captum: ClassVar[bool] = True
    of_images_alone: ClassVar[bool] = False

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        return None

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        from danlu.explanation.networks import gradients

        with gradients.quiet():
            return gradients.occluded_squares(row) if isinstance(row, ImageRow) else gradients.occlusion(row)


class Gradient:
    """Explain by gradients of the score, through captum."""

    needs_captum: ClassVar[bool] = True
    of_images_alone: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        if first.readout.score is None:
            return "needs an answer that is a linear map of what the network gives"
        if isinstance(rows, TokenRows) and not rows.looks_up_once(first):
            return "needs a network that looks up its tokens once"
        return None

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        from danlu.explanation.networks import gradients

        with gradients.quiet():
            return gradients.GRADIENTS[self.name](row, asked.seed)


class GradCam:
    """Draw the map of the layer of convolutions that is most faithful."""

    needs_captum: ClassVar[bool] = True
    of_images_alone: ClassVar[bool] = True

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        if not isinstance(rows, ImageRows) or not isinstance(first, ImageRow):
            return "needs a network of images"
        if first.readout.score is None:
            return "needs an answer that is a linear map of what the network gives"
        return None if rows.layers(first) else "needs layers of convolutions that run once"

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        from danlu.explanation.networks.grad_cam import grad_cam
        from danlu.explanation.networks.gradients import quiet

        assert isinstance(row, ImageRow)
        with quiet():
            return grad_cam(row, row.source.layer(row, asked.seed))


class Rollout:
    """Follow attention through the layers of a transformer."""

    needs_captum: ClassVar[bool] = False
    of_images_alone: ClassVar[bool] = False

    def refusal(self, rows: NetworkRows, first: NetworkRow) -> str | None:
        return None if first.rolled_out() is not None else "needs a transformer whose layers all see all its tokens"

    def explain(self, row: NetworkRow, asked: Asked) -> Attribution:
        values = row.rolled_out()
        assert values is not None, "refused before"
        base, answer = row.ends()
        return Attribution(values, "rollout", row.readout.scale, base, answer, calls=1)


NETWORK_METHODS: dict[str, NetworkMethod] = {
    "shap": Shap(),
    "lime": Lime(),
    "occlusion": Occlusion(),
    "integrated-gradients": Gradient("integrated-gradients"),
    "deep-lift": Gradient("deep-lift"),
    "gradient-shap": Gradient("gradient-shap"),
    "gradient-x-input": Gradient("gradient-x-input"),
    "grad-cam": GradCam(),
    "attention-rollout": Rollout(),
}
USUAL = ("shap",)
TRUST = "trust"  # measures these methods, and is none of them


def methods_of_kind(preprocessor: type[Preprocessor]) -> tuple[str, ...]:
    """Return the methods that networks with such a preprocessor may have, if any."""
    if issubclass(preprocessor, ImagePreprocessor):
        return (*NETWORK_METHODS, TRUST)
    if not issubclass(preprocessor, tuple(TOKENIZED)):
        return ()
    return (*(name for name, method in NETWORK_METHODS.items() if not method.of_images_alone), TRUST)


def require_captum(name: str) -> None:
    """Raise MissingExtra where a method needs captum and it is not installed."""
    if name != TRUST and NETWORK_METHODS[name].needs_captum:
        require_extra("explain", f"explaining by {name}")
