"""Metrics: each a statistic of weighted samples and a figure made of it, one file per kind; `table` lists them."""
