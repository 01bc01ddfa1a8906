"""The version, in one place: `danlu.__version__` and pyproject.toml read it here."""

__version__ = "0.1.0"
