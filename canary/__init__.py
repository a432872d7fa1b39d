"""The canary: compares what should have happened with what the stores say, and says why not."""
