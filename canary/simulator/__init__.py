"""The incident bank: the real orchestrator and the real canary through thousands of healthy and faulty dates."""
