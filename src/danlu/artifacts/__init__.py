"""Artifacts that stages exchange on disk: the run directory and the bundle. Read, written, verified.

Files only: models and preprocessors are unknown here.
"""
