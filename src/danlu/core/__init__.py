"""Seeds, devices, components, console, imports: small things that every layer uses.

Nothing here knows of data, models or the files of a run, and nothing here imports torch at import time.
"""
