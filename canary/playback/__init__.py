"""The real orchestrator and canary on simulated time, over stores in a folder.

The demo, and replays.
"""
