"""danlu: raw data to a trained, evaluated and portable model from one typed recipe.

Each command is a function here (`danlu run` is `danlu.run`, `danlu models` is `danlu.list_models`); `resume` continues
a run, `load` opens a bundle, `batch` makes a function of one for a cluster. Beside them stand what they return, the
base classes that plugins derive from, and `danlu.errors`; `danlu.testing` checks a plugin's classes. All other modules
are private and may change at any time.

Names are imported on first use, so `import danlu` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from danlu import errors as errors
from danlu import registry as registry  # hands the tables of components down
from danlu._version import __version__ as __version__
from danlu.api import FUNCTIONS as _FUNCTIONS

if TYPE_CHECKING:
    from danlu.api.batch import batch as batch
    from danlu.api.chat import chat as chat
    from danlu.api.check import check as check
    from danlu.api.compare import compare as compare
    from danlu.api.compress import compress as compress
    from danlu.api.deploy import deploy as deploy
    from danlu.api.doctor import doctor as doctor
    from danlu.api.evaluate import evaluate as evaluate
    from danlu.api.explain import explain as explain
    from danlu.api.export import export as export
    from danlu.api.generate import generate as generate
    from danlu.api.list_models import list_models as list_models
    from danlu.api.load import load as load
    from danlu.api.new import new as new
    from danlu.api.plan import plan as plan
    from danlu.api.predict import predict as predict
    from danlu.api.replay import replay as replay
    from danlu.api.report import report as report
    from danlu.api.run import run as run
    from danlu.api.runs import runs as runs
    from danlu.api.schema import schema as schema
    from danlu.api.serve import serve as serve
    from danlu.api.sign import sign as sign
    from danlu.api.train import resume as resume
    from danlu.api.train import train as train
    from danlu.api.tune import tune as tune
    from danlu.api.visualize import visualize as visualize
    from danlu.artifacts.run import RunDirectory as RunDirectory
    from danlu.data.augment.base import BatchAugmentation as BatchAugmentation
    from danlu.data.augment.base import ImageAugmentation as ImageAugmentation
    from danlu.data.balance.base import Balancer as Balancer
    from danlu.data.clean import Duplicates as Duplicates
    from danlu.data.splits import Splitter as Splitter
    from danlu.data.tabular.scaling import Scaler as Scaler
    from danlu.errors import DanluError as DanluError
    from danlu.evaluation.robustness import Perturbation as Perturbation
    from danlu.metrics.base import Metric as Metric
    from danlu.metrics.base import Predictions as Predictions
    from danlu.metrics.base import Statistic as Statistic
    from danlu.models.base import Model as Model
    from danlu.models.base import SelfFittingModel as SelfFittingModel
    from danlu.models.predictor import Predictor as Predictor
    from danlu.recipe.load import load_recipe as load_recipe
    from danlu.recipe.schema import Recipe as Recipe
    from danlu.search.samplers import Sampler as Sampler
    from danlu.tasks.base import Target as Target
    from danlu.tasks.base import Task as Task
    from danlu.training.averaging import WeightAverage as WeightAverage
    from danlu.training.monitoring.callbacks import Callback as Callback
    from danlu.training.monitoring.callbacks import CallbackContext as CallbackContext
    from danlu.training.optimizers.base import Optimizer as Optimizer
    from danlu.training.schedules import Schedule as Schedule

_MODULES = {
    "DanluError": "danlu.errors",
    "Predictor": "danlu.models.predictor",
    "Recipe": "danlu.recipe.schema",
    "RunDirectory": "danlu.artifacts.run",
    "load_recipe": "danlu.recipe.load",
    # The base classes that plugins and custom classes derive from.
    "Balancer": "danlu.data.balance.base",
    "BatchAugmentation": "danlu.data.augment.base",
    "Callback": "danlu.training.monitoring.callbacks",
    "CallbackContext": "danlu.training.monitoring.callbacks",
    "Duplicates": "danlu.data.clean",
    "ImageAugmentation": "danlu.data.augment.base",
    "Metric": "danlu.metrics.base",
    "Model": "danlu.models.base",
    "Optimizer": "danlu.training.optimizers.base",
    "Perturbation": "danlu.evaluation.robustness",
    "Predictions": "danlu.metrics.base",
    "Sampler": "danlu.search.samplers",
    "Scaler": "danlu.data.tabular.scaling",
    "Schedule": "danlu.training.schedules",
    "SelfFittingModel": "danlu.models.base",
    "Splitter": "danlu.data.splits",
    "Statistic": "danlu.metrics.base",
    "Target": "danlu.tasks.base",
    "Task": "danlu.tasks.base",
    "WeightAverage": "danlu.training.averaging",
    **_FUNCTIONS,
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'danlu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
