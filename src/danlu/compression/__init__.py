"""Make a run's model smaller or faster by steps, and write each result as a bundle.

`base` says what a step is, `table` lists them, `once` applies them in order; each step is a file of its own.
"""
