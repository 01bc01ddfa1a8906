"""Engines: what computes a bundle's network. `base` says what one is, `table` lists them and chooses one."""
