"""The lab's own certificate authority, and its passwords: what an operator brings for real hosts."""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from restante.deploy.certificates import DAY, builder, new_key, pem, root


def certificate(directory: Path, domain: str) -> tuple[str, str]:
    """Chain and private key for `domain`, PEM; issued once per lab, so that a second deploy changes nothing.

    The authority's own certificate is `directory`/ca.pem.
    """
    chain, key = directory / f"{domain}.pem", directory / f"{domain}.key"
    if not chain.exists():
        issued = issue(directory, domain)
        key.write_text(issued[1])
        chain.write_text(issued[0])
    return chain.read_text(), key.read_text()


def issue(directory: Path, domain: str, valid: datetime.timedelta = 90 * DAY) -> tuple[str, str]:
    """Another chain and private key, PEM, from now on for as long as told."""
    ca_key, ca = _authority(directory)
    own = new_key()
    made = (
        builder(domain, ca.subject, own.public_key(), valid)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        # Python 3.13 refuses chains without key identifiers (ssl.VERIFY_X509_STRICT; RFC 5280, 4.2.1.1 and 4.2.1.2).
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    chain = made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return chain, pem(own)


def store_password(directory: Path) -> str:
    """The password of the lab's PostgreSQL; made once per lab, so that a second deploy changes nothing."""
    kept = directory / "store-password"
    if not kept.exists():
        directory.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(24))
    return kept.read_text()


def _authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Made once per lab: all that it issues is trusted by whoever trusts ca.pem."""
    kept, key_file = directory / "ca.pem", directory / "ca.key"
    if kept.exists():
        known = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        assert isinstance(known, ec.EllipticCurvePrivateKey)
        return known, x509.load_pem_x509_certificate(kept.read_bytes())
    directory.mkdir(parents=True, exist_ok=True)
    key = new_key()
    made = root("Restante lab authority", key, 365 * DAY, 0)
    key_file.touch(mode=0o600)
    key_file.write_text(pem(key))
    kept.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return key, made
