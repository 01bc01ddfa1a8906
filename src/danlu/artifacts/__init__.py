"""The two things that stages hand one another on disk: the run directory and the bundle. Read, written, verified.

Files only: what a model or a preprocessor is, this package does not know.
"""
