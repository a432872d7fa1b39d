"""The stores behind the two layers.

base.py has the Protocols, and each other module one technology.
"""
