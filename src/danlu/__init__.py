"""danlu: raw data to a trained, evaluated and portable model from one typed recipe.

Each command is a function here (`danlu run` is `danlu.run`, `danlu models` is `danlu.list_models`); `resume` continues
a run, `load` opens a bundle. They are imported on first use, so `import danlu` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from danlu import registry as registry  # hands the tables of components down
from danlu._version import __version__ as __version__
from danlu.api import FUNCTIONS as _FUNCTIONS

if TYPE_CHECKING:
    from danlu.api.check import check as check
    from danlu.api.compare import compare as compare
    from danlu.api.deploy import deploy as deploy
    from danlu.api.doctor import doctor as doctor
    from danlu.api.evaluate import evaluate as evaluate
    from danlu.api.export import export as export
    from danlu.api.generate import generate as generate
    from danlu.api.list_models import list_models as list_models
    from danlu.api.load import load as load
    from danlu.api.new import new as new
    from danlu.api.plan import plan as plan
    from danlu.api.predict import predict as predict
    from danlu.api.run import run as run
    from danlu.api.runs import runs as runs
    from danlu.api.schema import schema as schema
    from danlu.api.train import resume as resume
    from danlu.api.train import train as train
    from danlu.api.tune import tune as tune
    from danlu.api.visualize import visualize as visualize
    from danlu.artifacts.run import RunDirectory as RunDirectory
    from danlu.errors import DanluError as DanluError
    from danlu.models.predictor import Predictor as Predictor
    from danlu.recipe.load import load_recipe as load_recipe
    from danlu.recipe.schema import Recipe as Recipe

_MODULES = {
    "DanluError": "danlu.errors",
    "Predictor": "danlu.models.predictor",
    "Recipe": "danlu.recipe.schema",
    "RunDirectory": "danlu.artifacts.run",
    "load_recipe": "danlu.recipe.load",
    **_FUNCTIONS,
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
