"""Augmentation: random transforms of training samples, and how they are carried out.

Every transform is a pure function of (seed, epoch, position of the sample in the training split); validation and test
samples never come here. Balancing by more or other rows lives in `balance`.
"""
