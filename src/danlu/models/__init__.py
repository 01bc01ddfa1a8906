"""Models: `table` lists them and their options; the networks live in `tabular`, `vision` and `transformers`.

A builder takes what the inputs look like and how many outputs are wanted, and gives a torch module whose forward takes
the inputs by name. Models know nothing of training, precision or devices. `predictor` answers from a bundle.
"""
