"""The sections of a recipe as frozen typed values, one file per stage."""
