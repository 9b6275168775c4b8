"""How hosts show each other who they are: by certificates of a few days that each issues itself, under an authority of the spec."""

from __future__ import annotations

from restante.plan.derived import Values
from restante.spec.hosts import Tier
from restante.spec.model import Spec

ISSUER = "/etc/restante/identity"  # what a host signs with, which the deploy brings
IDENTITIES = "/var/lib/restante/identity"  # what it has signed, a folder for each user
ROOT = f"{ISSUER}/root.pem"


def name(spec: Spec, host: str) -> str:
    """What the host's certificates are for, beside its addresses."""
    return f"{host}.{spec.domain}"


def tier_name(spec: Spec, tier: Tier) -> str:
    """What all hosts of a tier are for, where it is one to its clients whichever it is. Of two labels: no host is called so."""
    return f"{tier}.tier.{spec.domain}"


def certificate(user: str) -> str:
    return f"{IDENTITIES}/{user}/cert.pem"


def key(user: str) -> str:
    return f"{IDENTITIES}/{user}/key.pem"


def libpq(user: str) -> dict[str, str]:
    """Parameters with which `user` shows who it is, and sees who the other is."""
    return {"sslmode": "verify-full", "sslrootcert": ROOT, "sslcert": certificate(user), "sslkey": key(user)}


def derive(values: Values) -> None:
    """Fill in how long what lives; for specs whose hosts know each other by certificate."""
    place, source = "hosts", "hosts without a way out can ask nobody for revocations: short lives take their place"
    life = values.add("identity.lifetime", 7, "days", "A host's certificate for the others lives so long.",
        risk="longer, and a stolen key serves longer", source=source, spec_key=place)  # fmt: skip
    values.add("identity.renew_before", 12 * life, "h", "It is renewed when half of its life is over: days to notice that nobody does.",
        risk="too late, and one missed renewal parts the hosts", source="arithmetic", spec_key=place)  # fmt: skip
    values.add("identity.look", 12, "h", "Its age is looked at so often.",
        risk="too seldom, and a renewal comes late", source="arithmetic", spec_key=place)  # fmt: skip
    values.add("identity.renewal_warning", values["identity.renew_before"] - 2 * values["identity.look"], "h",
        "With less to go two looks have failed to renew it.",
        risk="too little, and the hosts part before somebody looks", source="arithmetic", spec_key=place)  # fmt: skip
    values.add("identity.issuer_warning", 60, "days", "A host's issuer lives a year; a deploy in its second half renews it.",
        risk="it ends, and the hosts part", source="arithmetic", spec_key=place)  # fmt: skip
