"""The Execution Contract: what it says, and what says whether it holds. Pure Python, without Ansible."""
