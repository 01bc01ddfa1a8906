"""How a column's words are read: numbers and dates as people write them, missing words, and spellings of categories.

Found out once, on the training file, kept in the bundle, and used for every file that comes later.
"""
