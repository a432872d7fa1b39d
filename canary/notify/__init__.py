"""How people are told: the notifications of an incident, the channels, and the text."""
