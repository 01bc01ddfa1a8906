"""A finished run -> report.html, MODEL_CARD.md and comparison pages: Markdown, or self-contained HTML files.

In: a run directory with its metrics, evaluation and profile. Out: files. Nothing here computes metrics or loads models.
"""
