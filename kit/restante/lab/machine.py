"""What a lab is asked for, as plain data: it knows nothing of specs."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """One host. `suite`: bookworm or trixie. `addresses`: IPv4 and IPv6, from any documentation range."""

    name: str
    suite: str
    addresses: tuple[str, ...]
    ssh_user: str = "root"
    ssh_port: int = 22


def lab_directory(file: Path) -> Path:
    """Where the lab of this spec file lives: $RESTANTE_LAB_DIR, named after the file and its place."""
    root = Path(os.environ.get("RESTANTE_LAB_DIR", "/var/lib/restante-lab"))
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:6]
    return root / f"{re.sub(r'[^a-z0-9]+', '-', file.stem.lower())[:20]}-{place}"


def cache_directory() -> Path:
    """Where base images and package repositories are kept between labs."""
    return Path(os.environ.get("RESTANTE_LAB_CACHE", "/var/cache/restante-lab"))
