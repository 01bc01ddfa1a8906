"""`danlu train`: train a model into a run directory, or resume a run."""

from danlu.experiment.trainer import resume as resume
from danlu.experiment.trainer import train as train
