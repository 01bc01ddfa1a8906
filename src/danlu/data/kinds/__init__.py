"""The kinds of data, one file for each; `table` lists them."""
