"""The recipe's section `bundle`: what a bundle keeps beside what predicting needs."""

from typing import Literal

from pydantic import Field

from danlu.core.component import Frozen


class BundleOptions(Frozen):
    """Set what a bundle tells of the training data, for explanations and drift."""

    reference: Literal["rows", "statistics", "none"] = Field(
        default="rows",
        description="rows: how each column was distributed, and up to 200 training rows (no images); statistics: no "
        "rows; none: neither. Rows may be private",
    )
