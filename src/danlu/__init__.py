"""danlu: raw data to a trained, evaluated and portable model from one typed recipe.

Each command is a function here: `train`, `resume`, `tune`, `evaluate`, `run`, `predict`, `check`, `new`, `plan`,
`compare`, `runs`, `generate`, `export`, `deploy`, `visualize`, `doctor`; `danlu models` is `list_models`; `load` opens
a bundle. They are imported on first use, so `import danlu` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from danlu import registry as registry  # hands the tables of components down

if TYPE_CHECKING:
    from danlu.api.check import check as check
    from danlu.api.compare import compare as compare
    from danlu.api.deploy import deploy as deploy
    from danlu.api.doctor import doctor as doctor
    from danlu.api.export import export as export
    from danlu.api.generate import generate as generate
    from danlu.api.list_models import list_models as list_models
    from danlu.api.load import load as load
    from danlu.api.new import new as new
    from danlu.api.plan import plan as plan
    from danlu.api.predict import predict as predict
    from danlu.api.run import run as run
    from danlu.api.runs import runs as runs
    from danlu.api.tune import tune as tune
    from danlu.api.visualize import visualize as visualize
    from danlu.experiment.run_evaluation import evaluate as evaluate
    from danlu.experiment.trainer import resume as resume
    from danlu.experiment.trainer import train as train
    from danlu.recipe.load import load_recipe as load_recipe
    from danlu.recipe.schema import Recipe as Recipe

__version__ = "0.1.0"

VERBS = (
    "check",
    "compare",
    "deploy",
    "doctor",
    "evaluate",
    "export",
    "generate",
    "load",
    "models",
    "new",
    "plan",
    "predict",
    "run",
    "runs",
    "train",
    "tune",
    "visualize",
)
_HOMES = {
    "Recipe": "danlu.recipe.schema",
    "load_recipe": "danlu.recipe.load",
    "resume": "danlu.experiment.trainer",
    **{verb: f"danlu.api.{verb}" for verb in VERBS},
}
__all__ = ["Recipe", "load_recipe", "resume", *VERBS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
