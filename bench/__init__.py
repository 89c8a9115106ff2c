"""Benchmarks: what the main job costs, and what checking against the contract costs."""
