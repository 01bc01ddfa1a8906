"""The recipe's section `explanation`: what a run explains of its model after it was evaluated."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from danlu.core.component import Frozen

ExplanationMethod = Literal[
    "shap",
    "permutation",
    "lime",
    "partial-dependence",
    "accumulated-effects",
    "interactions",
    "surrogate",
    "counterfactual",
    "trust",
    "tracin",
    "occlusion",
    "integrated-gradients",
    "deep-lift",
    "gradient-shap",
    "gradient-x-input",
    "grad-cam",
    "attention-rollout",
]


class Explanation(Frozen):
    """Explain the model on its validation rows, after evaluation."""

    methods: Annotated[tuple[ExplanationMethod, ...], Field(min_length=1)] | None = Field(
        default=None, description="as in `danlu explain --method`; by default those that the model usually has"
    )
    samples: PositiveInt = Field(default=20, description="rows that are explained one by one, the first ones")
    budget: PositiveInt | None = Field(default=None, description="most coalitions per row")
    actionable: tuple[str, ...] | None = Field(default=None, description="columns that counterfactuals may change")
