"""Parallel training: data, sharded, tensor, pipeline and context parallelism.

`layout` sets the size of each dimension, `parallel_context` opens the process groups. Each dimension is applied to a
plain model from outside, in `parallelize`; a model file knows nothing of it.
"""
