"""What a node and its cluster are like: looked at on the node itself, with nothing but Python's standard library."""
