"""Formats of other libraries: write a bundle's model for its own library, which loads it without danlu."""
