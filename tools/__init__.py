"""The whole path on one machine, without a cloud project: Google's emulators and both functions."""
