"""`danlu evaluate`: evaluate a run's model on its validation and test splits."""

from danlu.experiment.run_evaluation import evaluate as evaluate
