"""The lab's own certificate authority, and its passwords: what an operator brings for real hosts."""

from __future__ import annotations

import datetime
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


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


def issue(directory: Path, domain: str, valid: datetime.timedelta = 90 * _DAY) -> tuple[str, str]:
    """Another chain and private key, PEM, from now on for as long as told."""
    ca_key, ca = _authority(directory)
    own = ec.generate_private_key(ec.SECP256R1())
    made = (
        _builder(domain, ca.subject, own.public_key(), valid)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        # Python 3.13 refuses chains without key identifiers (ssl.VERIFY_X509_STRICT; RFC 5280, 4.2.1.1 and 4.2.1.2).
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    chain = made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    return chain, _pem(own)


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
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Restante lab authority")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder("Restante lab authority", name, key.public_key(), 365 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file.touch(mode=0o600)
    key_file.write_text(_pem(key))
    kept.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return key, made


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + valid)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
