"""Raw files to batches: sources, column types, splits, preparation fitted on the training split, batches.

A value's way: `sources` (file -> frame) -> `dataset` (frame with meaning) -> `splits` (TrainSplit, others) -> `tabular`
/ `images` / `text` / `chats` (fit on TrainSplit, apply to any) -> `loader` (tensors, batch by batch). Nothing here
knows of models, losses or metrics.
"""
