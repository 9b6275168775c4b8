"""The authority that hosts of one spec believe: a root beside the spec, and for each host an issuer that may sign for that host only.

    root.pem, root.key      made at the first deploy; nobody but the controller has the key
    HOST.pem, HOST.key      a secret of the host, which signs its own short-lived certificates with it
    HOST.before.pem         the issuer that the last one replaced: what it has signed is still shown until the host has the new one
    members.pem             the issuers of the members of a replicated store, which alone may ask their etcd

Whoever has a public key infrastructure of their own puts its files there: what is there and fits is used as it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from restante.deploy.certificates import DAY, ISSUES, builder, common_name, new_key, pem, root
from restante.errors import InputError

MEMBERS = "members.pem"  # restante.render.identity asks for it
ROOT_LIFE = 3650 * DAY
ISSUER_LIFE = 365 * DAY
SOON = 60 * DAY  # as identity.issuer_warning
_VAULT = b"$ANSIBLE_VAULT;"


def ensure(folder: Path, hosts: Mapping[str, Sequence[str]]) -> list[str]:
    """See to it that there is a root, and that each host has an issuer for its names with half of its life to go; what was made, in words.

    `hosts`: name -> what its certificates may be for: DNS names, the first of which is who it is, and addresses. An issuer that was
    signed elsewhere is used until it ends, and never replaced. Raises InputError when a file cannot be used.
    """
    said: list[str] = []
    if not (folder / "root.pem").exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = new_key()
        _write(folder / "root", root("Restante authority", key, ROOT_LIFE, 1), key)
        said.append(f"made an authority in {folder}: keep root.key private, and a copy of it")
    for name, names in hosts.items():
        path = folder / f"{name}.pem"
        issuer = _certificate(path) if path.exists() else None
        if issuer and issuer.subject != _subject(name):
            said += _of_others(path, issuer)
        elif not (issuer and _serves(issuer, names)):
            made = _issuer(folder, name, names)  # first: a root that cannot sign must leave what is there
            if issuer:
                path.replace(folder / f"{name}.before.pem")
            _write(folder / name, *made)
            said.append(f"made an issuer for {name}, valid for {ISSUER_LIFE.days} days")
    return said


def gather(folder: Path, hosts: Sequence[str]) -> None:
    """Write MEMBERS: what these hosts have signed is to be believed, also by the issuer before while that lives."""
    paths = [folder / f"{name}{part}.pem" for name in hosts for part in ("", ".before")]
    alive = [path for path in paths if path.exists() and _certificate(path).not_valid_after_utc > datetime.now(UTC)]
    (folder / MEMBERS).write_bytes(b"".join(path.read_bytes() for path in alive))


def _subject(name: str) -> x509.Name:
    """Of the issuers that are made here."""
    return common_name(f"Restante issuer of {name}")


def _of_others(path: Path, issuer: x509.Certificate) -> list[str]:
    left = issuer.not_valid_after_utc - datetime.now(UTC)
    if left <= 0 * DAY:
        raise InputError(
            f"{path} ended on {issuer.not_valid_after_utc:%Y-%m-%d}, and was not made here: put its successor there, "
            "or take it and its key away, and root.key makes one"
        )
    if left > SOON:
        return []
    return [f"{path} ends in {left.days} days, and was not made here: put its successor there before that"]


def _serves(issuer: x509.Certificate, names: Sequence[str]) -> bool:
    try:
        allowed = issuer.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    except x509.ExtensionNotFound:
        return False
    left = issuer.not_valid_after_utc - datetime.now(UTC)
    return left > (issuer.not_valid_after_utc - issuer.not_valid_before_utc) / 2 and allowed == _permitted(names)


def _issuer(folder: Path, name: str, names: Sequence[str]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    parent, signer = _certificate(folder / "root.pem"), _key(folder / "root.key", name)
    if parent.not_valid_after_utc < datetime.now(UTC) + ISSUER_LIFE:
        raise InputError(
            f"{folder / 'root.pem'} ends on {parent.not_valid_after_utc:%Y-%m-%d}, before an issuer for {name} would; "
            "put a new root.pem and root.key there, with the old certificate appended to root.pem until every host has a new issuer"
        )
    key = new_key()
    made = (
        builder(f"Restante issuer of {name}", parent.subject, key.public_key(), ISSUER_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ISSUES, critical=True)
        # Not critical: etcd, in Go, refuses a critical one that names subjects. Both it and OpenSSL heed what they know of it.
        .add_extension(x509.NameConstraints(_permitted(names), None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return made.sign(signer, hashes.SHA256()), key


def _permitted(names: Sequence[str]) -> list[x509.GeneralName]:
    """PostgreSQL knows hosts by the subject's common name, so that is bound too."""
    return [*(_general(name) for name in names), x509.DirectoryName(common_name(names[0]))]


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no certificate that can be used: {error}") from None


def _key(path: Path, name: str) -> ec.EllipticCurvePrivateKey:
    hint = f"it must sign an issuer for {name}; or put {name}.pem and {name}.key, signed elsewhere, beside it"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), and {hint}") from None
    if content.startswith(_VAULT):
        raise InputError(f"{path} is encrypted with ansible-vault, and {hint}; decrypt it for this deploy")
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no private key without a passphrase ({error}), and {hint}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path} is no key of an elliptic curve, and {hint}")
    return key


def _write(base: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    private = base.with_name(f"{base.name}.key")
    private.touch(mode=0o600)
    private.write_text(pem(key))
    base.with_name(f"{base.name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
