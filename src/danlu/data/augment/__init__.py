"""Random changes of training samples: what each augmentation is, and how plans of them are carried out.

Every change is a pure function of (seed, epoch, position of the sample in the training split); validation and test
samples never come here. Balancing by more or other rows lives in `balance`.
"""
