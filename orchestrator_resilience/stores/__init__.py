"""The stores behind the two layers: base.py has the Protocols, the other modules one technology each."""
