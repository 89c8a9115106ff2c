"""The drill of issue 7: a node with data is lost under load, and the same command brings a new one up with it."""
