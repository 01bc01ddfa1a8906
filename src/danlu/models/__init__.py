"""Models: `table` lists them; options and networks live in `tabular`, `vision` and `text`.

`Model.build` takes the specification of the inputs and the number of outputs, and returns a torch module whose forward
takes the inputs by name. Models know nothing of training, precision or devices. `predictor` answers from a bundle.
"""
