"""Comparing a living system with its contract (seed 001, Steps 1 to 6)."""
