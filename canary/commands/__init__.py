"""The command line, and what only an operator runs."""
