"""The recipe's section `visualization`: the pictures of its network that a run draws after it was evaluated."""

from typing import Literal

from pydantic import Field, NonNegativeInt

from danlu.core.component import Frozen

Picture = Literal[
    "graph",
    "features",
    "activations",
    "weights",
    "attention",
    "embeddings",
    "curves",
    "gradients",
    "landscape",
    "confusion",
]


class Visualization(Frozen):
    """Draw what the network is and does, after evaluation, for the report."""

    pictures: tuple[Picture, ...] = Field(
        default=("graph", "weights", "activations"), min_length=1, description="as in `danlu visualize --only`"
    )
    rows: NonNegativeInt = Field(
        default=0, description="rows that the network is run on, of validation first; 0 for 256"
    )
