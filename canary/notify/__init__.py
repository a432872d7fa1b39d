"""How people are notified: the notifications of an incident, the channels, and the text."""
