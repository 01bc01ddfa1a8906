"""Models of tables: the families' options, their networks, and trees that answer.

`families` and `grown` hold what a recipe may say and import no torch; each other module is one network.
"""
