"""Classes of unequal size: what is done about them in the training split, and nowhere else.

A balancer may choose rows anew, make rows that were not there, draw some rows more often, or change what the loss
counts. Augmentation of single samples lives in `augment`.
"""
