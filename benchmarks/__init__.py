"""Measurements of what the design promises, each a command of its own."""
