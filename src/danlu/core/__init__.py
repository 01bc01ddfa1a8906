"""Seeds, devices, errors, components, extras: small things imported by every layer.

Nothing here knows of data, models or files of a run, and nothing here imports torch at import time.
"""
