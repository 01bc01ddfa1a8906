"""The recipe's section `explanation`: what a run explains of its model after it was evaluated."""

from typing import Literal

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
]


class Explanation(Frozen):
    """Explain a table's model on its validation rows, after evaluation."""

    methods: tuple[ExplanationMethod, ...] = Field(
        default=("shap", "permutation"), min_length=1, description="as in `danlu explain --method`"
    )
    samples: PositiveInt = Field(default=20, description="rows that are explained one by one, the first ones")
    budget: PositiveInt | None = Field(default=None, description="most coalitions per row")
    actionable: tuple[str, ...] | None = Field(default=None, description="columns that counterfactuals may change")
