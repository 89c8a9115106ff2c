"""What brings a node's data off the node and back: runs on the node and on its backup host, by itself.

Only the standard library, Python 3.10, and programs that are on the node: restic, ssh, nsenter, crictl and kubectl.
"""
