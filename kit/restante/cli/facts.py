"""Gather from this machine what the plan must know: certificates, carried files, and which references can be read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from restante import resources
from restante.deploy import wheelhouse
from restante.plan.build import references
from restante.plan.facts import Certificate, Facts
from restante.spec.load import Loaded

Known = TypeVar("Known")
_VAULT = b"$ANSIBLE_VAULT;"


def gather(loaded: Loaded, now: datetime | None = None) -> Facts:
    """Never raises for what it finds: the plan refuses it with its place."""
    files: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for _, reference in references(loaded.spec):
        try:
            files[reference] = _bytes(reference, loaded.directory)
        except (OSError, KeyError) as error:
            unreadable[reference] = _reason(error)
    certificate, key = None, None
    tls = loaded.spec.tls
    if tls and tls.certificate in files and tls.key in files:
        try:
            certificate = _understood(files[tls.certificate], _certificate)
        except ValueError:
            unreadable[tls.certificate] = "it is no PEM certificate"
        try:
            key = _understood(files[tls.key], _key)
        except (ValueError, TypeError):
            unreadable[tls.key] = "it is no PEM private key without a passphrase"
    carried = {
        reference: files[reference]
        for service in loaded.spec.services.values()
        for reference in service.files.values()
        if reference in files
    }
    return Facts(now or datetime.now(UTC), certificate, key, carried, unreadable, checks(), wheelhouse.release())


@cache
def checks() -> frozenset[str]:
    """Ids of the checks that `restante verify` runs."""
    return frozenset(
        found
        for path in resources.checks().glob("test_*.py")
        for found in re.findall(r'@check\(id="([a-z-]+)"', path.read_text())
    )


def _bytes(reference: str, directory: Path) -> bytes:
    kind, _, rest = reference.partition(":")
    return os.environb[rest.encode()] if kind == "env" else (directory / rest).read_bytes()


def _reason(error: OSError | KeyError) -> str:
    if isinstance(error, KeyError):
        return "the environment variable is not set"
    return (error.strerror or str(error)).lower()


def _understood(content: bytes, parser: Callable[[bytes], Known]) -> Known | None:
    """None for what ansible-vault encrypted: it can be compared only where it is opened, in the deploy."""
    return None if content.startswith(_VAULT) else parser(content)


def _certificate(content: bytes) -> Certificate:
    leaf = x509.load_pem_x509_certificates(content)[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        found = ()
    return Certificate(found, leaf.not_valid_after_utc, _digest(leaf.public_key()))


def _key(content: bytes) -> str:
    return _digest(serialization.load_pem_private_key(content, None).public_key())


def _digest(key: PublicKeyTypes) -> str:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key.public_bytes(*form)).hexdigest()
