"""Class imbalance: how it is corrected in the training split, and nowhere else.

A balancer may resample rows, synthesize rows, draw some rows more often, or change the loss weights. Augmentation of
single samples lives in `augment`.
"""
