"""What is known of a date, what is wrong with it, why, and what becomes of it.

Functions of values, `now` included.
"""
