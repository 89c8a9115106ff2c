"""The Kubernetes API as the actions cluster_access, cluster_objects and cluster_wait use it.

Runs on the controller. Standard library and PyYAML only: a converged run must not pay for a large client library.
"""
