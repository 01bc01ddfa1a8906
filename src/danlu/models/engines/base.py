"""What an engine is: it computes the network of one bundle, from arrays of prepared inputs to arrays of outputs.

Preparation stands before it, and after it the answer that the task makes of the outputs (`danlu.tasks.base.Head`).
Imports no library of an engine: a class of `table` imports its own when it opens a bundle.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from danlu.artifacts.bundle import Bundle
from danlu.data.specs import InputSpec
from danlu.models.base import Model
from danlu.models.golden import ANSWER
from danlu.tasks.base import Target

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class EngineSource:
    """Hold what an engine opens.

    Attributes:
        bundle: its files, whose checksums were verified.
        options: the model's options, from the bundle's config.json.
        inputs: shapes and types of a prepared sample.
        target: what the model predicts.
        own_code: whether code that the bundle names may run.
        recipe_model: the model of the user's own recipe, whose code may run.
    """

    bundle: Bundle
    options: Model
    inputs: InputSpec
    target: Target
    own_code: bool = False
    recipe_model: Model | None = None


class Engine(ABC):
    """Compute the outputs of a bundle's network.

    Attributes:
        name: as `--engine` and the bundle's order give it.
        tolerance: how far an answer to a golden sample may be from the recorded one, relative where that is above 1.
        needs_file: the bundle's file that it computes from, beside those that every bundle has; None for none.
        form: what `danlu export --to FORM --into` calls the form that holds this file.
        golden: the column of golden samples with the answers that it must give.
    """

    name: ClassVar[str]
    tolerance: float
    needs_file: ClassVar[str | None] = None
    form: ClassVar[str | None] = None
    golden: str = ANSWER

    @property
    def survives_fork(self) -> bool:
        """Whether a fork of the process may use it, which has no threads of libraries."""
        return False

    @classmethod
    def obstacle(cls, source: EngineSource) -> str | None:
        """Return why this engine cannot answer a bundle; None where it can.

        It looks at options and the list of files, not into the weights, and imports no library.
        """
        if cls.needs_file is None or cls.needs_file in source.bundle.manifest.files:
            return None
        return f"it holds no {cls.needs_file}, which `danlu export BUNDLE NEW --to {cls.form} --into` writes"

    @classmethod
    @abstractmethod
    def open(cls, source: EngineSource) -> Self:
        """Open a bundle that it can answer.

        Raises:
            ArtifactError: the bundle's files do not fit one another.
            MissingExtra: it needs packages that are not installed.
        """

    @abstractmethod
    def run(self, inputs: Arrays) -> np.ndarray:
        """Compute a batch.

        Args:
            inputs: prepared samples by name, as `InputSpec` describes them: `numeric` [batch, n] float32, `categories`
                [batch, c] int64, `image`, `input_ids` and so on.

        Returns:
            the network's outputs before any activation, [batch, outputs], or [batch, members, outputs] of an ensemble,
            or [batch, length, outputs], float32.
        """
