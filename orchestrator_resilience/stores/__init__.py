"""The stores behind the two layers.

Base.py has the Protocols, the other modules one technology each.
"""
