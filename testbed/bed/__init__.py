"""The test bed: local nodes that Ansible cannot tell from a bare cloud machine.

Everything here runs on the developer's or CI's machine, never on a node. Nothing of it ships with
the product: the roles know only SSH, the URLs of a release mirror and their checksums.
"""
