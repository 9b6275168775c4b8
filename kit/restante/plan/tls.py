"""TLS guidelines as dated data. Source: Mozilla Server Side TLS, guidelines 5.7 (2023-07), intermediate and modern."""

from __future__ import annotations

from dataclasses import dataclass

from restante.spec.model import Spec

FOLDER = "/etc/restante/tls"
SERVED = f"{FOLDER}/served.pem"  # key and chain, as tls-take found them good last: what every server reads


def files(spec: Spec) -> tuple[str, str]:
    """Where a host finds chain and key of the domain."""
    tls = spec.tls
    if tls and (tls.certificate or "").startswith("host:"):
        return str(tls.certificate).removeprefix("host:"), str(tls.key).removeprefix("host:")
    return f"{FOLDER}/fullchain.pem", f"{FOLDER}/privkey.pem"


@dataclass(frozen=True)
class TlsProfile:
    """`ciphers` empty: TLS 1.3 only, whose suites nginx leaves to OpenSSL."""

    name: str
    protocols: str
    ciphers: str
    curves: str
    source: str = "Mozilla Server Side TLS 5.7"


PROFILES = {
    "modern": TlsProfile("modern", "TLSv1.3", "", "X25519:prime256v1:secp384r1"),
    "intermediate": TlsProfile(
        "intermediate",
        "TLSv1.2 TLSv1.3",
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
        "X25519:prime256v1:secp384r1",
    ),
}
