"""Tables: columns of numbers, categories, dates and words -> two tensors, learned from the training split alone.

A file a kind of column (`numbers`, `dates`, `categories`), one for gaps (`impute`), one for choosing features
(`select`); `preprocessor` puts them together. Rows are left out in `danlu.data.clean`, never here.
"""
