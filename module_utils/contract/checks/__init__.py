"""Compares facts with a contract: a file for each item, a few lines for each code (seed 000 B.2, seed 001).

A finding names one layer. Checks only say what differs where; ``engine.py`` decides which layer is to be mended first.
"""

from .environment import check_environment
from .images import check_images
from .paths import check_paths
from .permissions import check_permissions
from .ports import check_ports
from .secrets import check_secrets
from .subject import Subject, finding, text
from .volumes import check_volumes
from .workloads import check_workloads

CHECKS = (check_paths, check_environment, check_ports, check_volumes, check_permissions, check_secrets, check_images,
          check_workloads)

__all__ = ["CHECKS", "Subject", "finding", "text"]
