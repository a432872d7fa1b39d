"""How people are told: what an incident needs told, the channels, and the text."""
