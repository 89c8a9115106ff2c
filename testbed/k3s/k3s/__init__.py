"""A stand-in for the K3s binary: its command line, files and refusals around upstream Kubernetes.

The release artifacts of K3s cannot be had where this project is tested, so the test bed builds
upstream Kubernetes, kine and containerd and puts this launcher in front of them. Everything that an
operator or an Ansible role touches is where K3s has it. README.md says what is real and what is not.
"""

from __future__ import annotations
