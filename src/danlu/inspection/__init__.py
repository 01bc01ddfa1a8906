"""A network as it is: its graph, weights, activations and what two networks do differently.

In: a torch module and inputs by name. Out: plain values, which `reporting` draws.
"""
