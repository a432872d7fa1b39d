"""What the alerts are worth: healthy and faulty dates played through the real code, and scored."""
