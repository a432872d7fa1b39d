"""The canary: compares what should have happened with what the stores say, and tells why not."""
