"""QTS: trades by strategies that a file names."""
