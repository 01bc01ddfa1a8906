"""The step `prune`: weights become zero, or whole channels, heads and neurons are removed."""

from copy import deepcopy
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.finetune import Tuning, fine_tune
from danlu.core.seeds import Seed
from danlu.models.base import SelfFittingModel
from danlu.recipe.sections.sparsity import Amount, Pattern, Sparsity

Criterion = Literal["magnitude", "random", "taylor", "movement"]


class Prune(Step):
    """Remove weights, or whole channels, heads and neurons, and train what is left.

    Zeros alone make a file smaller only where it is packed, and no model faster on a CPU; removed channels do both.
    """

    name: Literal["prune"] = "prune"
    amount: Amount = Field(description="share of the weights, or of the channels of each layer, that is removed")
    what: Literal["channels", "weights"] = Field(
        default="channels", description="channels: with heads and neurons, really removed; weights: set to zero"
    )
    by: Criterion = Field(
        default="magnitude",
        description="what is removed first: the smallest; by chance; what changes the loss least (taylor); of weights "
        "also what training moves towards zero (movement)",
    )
    scope: Literal["global", "layer"] = Field(
        default="layer", description="compare the weights or channels of all layers, or of each by itself"
    )
    pattern: Pattern | None = Field(default=None, description="weights, N:M as 2:4: keep N of M neighbours")
    rounds: PositiveInt = Field(default=1, description="in as many parts, with training after each")
    epochs: NonNegativeInt = Field(default=0, description="of training after each part")
    schedule: Literal["constant", "polynomial", "cosine"] | None = Field(
        default=None, description="weights: let zeros become more during these epochs, instead of at once"
    )
    lr_factor: PositiveFloat = Field(default=0.3, description="of the run's learning rate")
    distill: bool = Field(default=False, description="learn from the original's answers, too")
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1024, description="training rows that taylor and batch norms look at"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        only_weights = {
            "pattern": self.pattern,
            "schedule": self.schedule,
            "by: movement": self.by == "movement" or None,
        }
        said = next((key for key, value in only_weights.items() if value is not None), None)
        if self.what == "channels" and said is not None:
            raise ValueError(f"{said} is for weights; set what: weights")
        if (self.schedule is not None or self.by == "movement") and not self.epochs:
            raise ValueError("schedule and movement work while the model is trained; set epochs")
        if self.schedule is not None and self.by not in ("magnitude", "random"):
            raise ValueError(f"schedule removes by magnitude or random, not {self.by}")
        if self.pattern is not None:
            Sparsity(amount=self.amount, pattern=self.pattern, schedule="constant")  # raises where they differ
        return self

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        if isinstance(candidate.options, SelfFittingModel):
            return "its trees have no weights to remove; fewer rounds make it smaller (model.rounds)"
        if self.what == "weights":
            from danlu.training.masks import prunable_weights

            if not prunable_weights(candidate.network):
                return "it has no matrix of a linear layer or convolution"
            return None
        from danlu.compression.channels import obstacle_to_channels

        return obstacle_to_channels(candidate)

    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        if self.what == "channels":
            return self._remove_channels(candidate, material, seed)
        from danlu.training.masks import sparsity_of

        before = sparsity_of(candidate.network)
        found = self._scheduled(candidate, material, seed) if self.schedule else self._zeroed(candidate, material, seed)
        reached = sparsity_of(found.network)
        note = f"{reached:.2%} of the weights of linear layers and convolutions are zero, {before:.2%} before"
        return replace(found, notes=(*candidate.notes, note))

    def _scheduled(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        """Let zeros become more while the model is trained."""
        from danlu.training.masks import sparsity_of

        sparsity = Sparsity.model_validate(
            {
                "amount": self.amount,
                "start": min(self.amount, sparsity_of(candidate.network)),
                "schedule": self.schedule,
                "by": self.by,
                "scope": self.scope,
                "pattern": self.pattern,
            }
        )
        return fine_tune(candidate, material, self._tuning(sparsity), seed)

    def _zeroed(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        """Set weights to zero at once, a part a round, with training after each."""
        from danlu.compression.gradients import renew_batch_norms
        from danlu.compression.weights import movement_scores, score_weights, set_lowest_to_zero

        for number in range(1, self.rounds + 1):
            amount, own = self.amount * number / self.rounds, seed.derive("round", number)
            if self.by == "movement":
                moved = fine_tune(candidate, material, self._tuning(None), own.derive("movement"))
                network, scores = moved.network, movement_scores(candidate.network, moved.network)
            else:
                network = deepcopy(candidate.network)
                scores = score_weights(network, self.by, material, self.rows, own)
            set_lowest_to_zero(network, scores, amount, by_layer=self.scope == "layer", pattern=self.pattern)
            renew_batch_norms(network, material, self.rows, own)
            candidate = replace(candidate, network=network)
            if self.epochs:
                candidate = fine_tune(candidate, material, self._tuning(self._held(amount)), own)
        return candidate

    def _held(self, amount: float) -> Sparsity:
        """Return what keeps weights at zero that are so."""
        kept = {"pattern": self.pattern} if self.pattern else {}
        return Sparsity.model_validate({"amount": amount, "schedule": "constant", "scope": self.scope, **kept})

    def _remove_channels(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        from danlu.compression.channels import Removal, remove_channels

        notes: list[str] = []
        for number in range(1, self.rounds + 1):
            own = seed.derive("round", number)
            part = 1 - (1 - self.amount) ** (1 / self.rounds)  # of what is left, so that all parts make `amount`
            removal = Removal(part, self.by, self.scope == "global", self.rows)
            candidate, note = remove_channels(candidate, removal, material, own)
            notes.append(note)
            if self.epochs:
                candidate = fine_tune(candidate, material, self._tuning(None), own)
        return replace(candidate, notes=(*candidate.notes, *notes))

    def _tuning(self, sparsity: Sparsity | None) -> Tuning:
        return Tuning(self.epochs, self.lr_factor, self.distill, sparsity=sparsity)
