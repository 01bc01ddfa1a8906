"""danlu: raw data to a trained, evaluated and portable model from one typed recipe.

Each command is a function here: `train`, `resume`, `tune`, `evaluate`, `run`, `predict`, `check`, `new`, `plan`,
`compare`, `runs`, `generate`, `export`, `deploy`, `visualize`, `doctor`; `danlu models` is `list_models`; `load` opens
a bundle. They are imported on first use, so `import danlu` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.recipe.load import load_recipe as load_recipe
    from danlu.recipe.schema import Recipe as Recipe
    from danlu.verbs.check import check as check
    from danlu.verbs.compare import compare as compare
    from danlu.verbs.deploy import deploy as deploy
    from danlu.verbs.doctor import doctor as doctor
    from danlu.verbs.evaluate import evaluate as evaluate
    from danlu.verbs.export import export as export
    from danlu.verbs.generate import generate as generate
    from danlu.verbs.load import load as load
    from danlu.verbs.models import list_models as list_models
    from danlu.verbs.new import new as new
    from danlu.verbs.plan import plan as plan
    from danlu.verbs.predict import predict as predict
    from danlu.verbs.run import run as run
    from danlu.verbs.runs import runs as runs
    from danlu.verbs.train import resume as resume
    from danlu.verbs.train import train as train
    from danlu.verbs.tune import tune as tune
    from danlu.verbs.visualize import visualize as visualize

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
    "resume": "danlu.verbs.train",
    **{verb: f"danlu.verbs.{verb}" for verb in VERBS},
}
__all__ = ["Recipe", "load_recipe", "resume", *VERBS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
