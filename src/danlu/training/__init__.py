"""Training: the one loop for every task (`loop`), optimizers, schedules, and what watches a run (`monitoring`).

In: a model, prepared examples, the recipe's `training` section. Out: the best weights, checkpoints, metrics.jsonl.
Nothing here knows how data was prepared or which metrics a task has.
"""
