"""Less memory per step: activations recomputed or kept on the host, microbatches, a forecast of the footprint."""
