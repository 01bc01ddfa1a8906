"""Strategies of a search: which values the next trial gets, from those before it.

Axes of a space (`axes`), what a strategy is (`sampler`), and the table of them. Nothing here knows recipes, data or
training; `verbs.tune` puts values into recipes and trains them.
"""
