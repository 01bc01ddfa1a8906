"""Tables: columns of numbers, categories, dates and texts -> two tensors, fitted on the training split alone.

A file per kind of column (`numbers` with dates, `categories`, `tfidf`), one for missing values (`impute`), one for
choosing features (`feature_selection`); `preprocessor` puts them together. Rows are removed in `danlu.data.clean`,
never here.
"""
