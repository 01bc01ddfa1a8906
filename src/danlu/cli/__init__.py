"""The command line: one thin module per command that parses arguments, calls the verb and prints its result."""
