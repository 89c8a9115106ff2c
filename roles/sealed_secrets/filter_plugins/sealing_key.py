"""Filter sealing_key_problem: what is wrong with an inventory's sealing key pair, in words, or nothing."""

from __future__ import annotations

from collections.abc import Callable

DOCUMENTATION = r"""
name: sealing_key_problem
short_description: What is wrong with a sealing key and its certificate
description:
  - Tells in words why a key pair is of no use to the sealed-secrets controller; an empty string when it is right.
  - Neither the key nor any part of it is in the words.
author: observer-node
positional: certificate
options:
  _input:
    description: The private half, PEM.
    type: str
    required: true
  certificate:
    description: The certificate, PEM.
    type: str
    required: true
"""

EXAMPLES = r"""
problem: "{{ sealed_secrets_key | sealing_key_problem(sealed_secrets_certificate) }}"
"""

RETURN = r"""
_value:
  description: The problem, with the name of the variable, or an empty string.
  type: str
"""


def sealing_key_problem(key: str, certificate: str) -> str:
    """What is wrong with the pair (PEM), naming the variable; empty when the controller can use it."""
    # A heavy library: only where it is needed.
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    for name, value in (("sealed_secrets_key", key), ("sealed_secrets_certificate", certificate)):
        if not str(value).strip():
            return f"{name} is empty"
    try:
        # Half a second of tests of the primes is left out: the signature below shows a damaged key.
        private = serialization.load_pem_private_key(
            str(key).encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError):
        return "sealed_secrets_key is not a private key in PEM without a password"
    if not isinstance(private, rsa.RSAPrivateKey):
        return "sealed_secrets_key is not an RSA key"
    try:
        public = x509.load_pem_x509_certificate(str(certificate).encode()).public_key()
    except ValueError:
        return "sealed_secrets_certificate is not a certificate in PEM"
    if public != private.public_key() or not isinstance(public, rsa.RSAPublicKey):
        return "sealed_secrets_certificate does not belong to sealed_secrets_key"
    try:
        public.verify(private.sign(b"test", padding.PKCS1v15(), hashes.SHA256()), b"test", padding.PKCS1v15(),
                      hashes.SHA256())
    except (InvalidSignature, ValueError):
        return "sealed_secrets_key is damaged"
    return ""


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"sealing_key_problem": sealing_key_problem}
