"""The real orchestrator and canary on simulated time: the demo, replays, and scenarios with their score."""
