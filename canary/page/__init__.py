"""The page that people look at: one HTML document, made of values.

It loads nothing from outside and has no script.
"""
