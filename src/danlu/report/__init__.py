"""The report: a run directory's files as one page, report.html, that opens offline and judges the model honestly.

Nothing is computed of data or models here: what the run's files do not say, the page does not say.
"""
