"""Arguments that several verbs share."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

RecipeArgument = Annotated[str, Parameter(help="A recipe file, or the name of a built-in one such as breast-cancer.")]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(name="--set", help="Override a key, as in training.optimizer.lr=3e-4. May be repeated.", negative=()),
]
Output = Annotated[Path, Parameter(name=["--output", "-o"], help="The folder of runs.")]
Name = Annotated[str | None, Parameter(help="The run's folder below it; the recipe's name and the time by default.")]
Overwrite = Annotated[bool, Parameter(help="Replace what is there under that name.", negative=())]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON on stdout and nothing else there.", negative=())]
DryRun = Annotated[bool, Parameter(help="Send two batches through every stage and write nothing.", negative=())]
