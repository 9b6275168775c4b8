"""Where Debian packages come from: this machine's own apt configuration, asked of apt itself."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from restante.lab.system import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
_POCKETS = {"", "updates", "security"}


def lines_for(suite: str) -> list[str]:
    """The machine's Debian archives as sources.list(5) lines for `suite`.

    Empty where the machine has none, as on Ubuntu: mmdebstrap then has a default archive for the suite, and the package
    debian-archive-keyring checks its signature.
    """
    targets = run(["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]).splitlines()
    release = platform.freedesktop_os_release()
    return translated(targets, release.get("VERSION_CODENAME", ""), suite) if release["ID"] == "debian" else []


def translated(targets: Iterable[str], own: str, suite: str) -> list[str]:
    """Debian's own archives among apt's targets, with the machine's codename exchanged for the suite's."""
    found: dict[str, None] = {}
    for target in targets:
        uri, release, component, origin = target.split("|")
        codename, dash, pocket = release.partition("-")
        # apt knows an origin after its first update only; before, it leaves the field as it is written.
        debian = origin in {"Debian", "$(ORIGIN)", ""}
        if codename == own and pocket in _POCKETS and component == "main" and debian:
            found[f"deb [signed-by={KEYRING}] {uri} {suite}{dash}{pocket} main"] = None
    return list(found)
