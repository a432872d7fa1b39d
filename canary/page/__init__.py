"""The page that people look at.

Values in, one HTML document out, with nothing from outside and no script.
"""
