"""The command line: one thin module a verb. Parses, calls the verb, prints what it gives. No logic."""
