"""Why a model answers as it does: values of columns for single rows and for the model, with intervals.

In: a predictor, rows, background rows. Out: frozen results. Pages draw them elsewhere.
"""
