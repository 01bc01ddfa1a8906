"""The registry of components: each kind that a recipe chooses from, and the table that lists it.

A plugin adds components through the entry-point group `danlu.<kind>`. The tables belong to the layers; this module
stands above all of them and hands their places to `core.component`, which imports a table at its first use. `import
danlu` imports this module, so it is complete in every process.
"""

from danlu.core.display import RENDERERS
from danlu.core.tables import TABLES

TABLES.update(
    {
        "task": "danlu.tasks.table:TASKS",
        "splitter": "danlu.data.splits:SPLITTERS",
        "scaler": "danlu.data.tabular.scaling:SCALERS",
        "encoder": "danlu.data.tabular.categories:ENCODERS",
        "gaps": "danlu.data.tabular.impute:GAPS",
        "duplicates": "danlu.data.clean:DUPLICATES",
        "augmentation": "danlu.data.augment.registry:AUGMENTATIONS",
        "balancer": "danlu.data.balance.registry:BALANCERS",
        "model": "danlu.models.table:MODELS",
        "optimizer": "danlu.training.optimizers:OPTIMIZERS",
        "schedule": "danlu.training.schedules:SCHEDULES",
        "average": "danlu.training.averaging:AVERAGES",
        "perturbation": "danlu.evaluation.robustness:PERTURBATIONS",
        "sampler": "danlu.search.samplers:SAMPLERS",
        "compression": "danlu.compression.table:STEPS",
    }
)
# What shows itself in a notebook, drawn by the layer of the pages.
RENDERERS.update(
    {
        "run": "danlu.reporting.notebook:run_html",
        "predictor": "danlu.reporting.notebook:predictor_html",
        "evaluation": "danlu.reporting.notebook:evaluation_html",
        "comparison": "danlu.reporting.notebook:comparison_html",
        "profile": "danlu.reporting.notebook:profile_html",
        "runs": "danlu.reporting.notebook:runs_html",
    }
)
