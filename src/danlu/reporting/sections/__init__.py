"""Sections of the report: each picks from a run directory what it shows."""
