"""One training as values: data loaded, defaults filled in, a model set up, trained, evaluated and bundled.

Above the stages, which it composes, and below the verbs and searches, which call it. Parses no command line.
"""
