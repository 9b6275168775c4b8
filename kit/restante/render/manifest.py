"""What a bundle says about itself: per host the files, secrets and components; for the whole, a digest of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

FORMAT = 1


@dataclass(frozen=True)
class File:
    """Bytes at a place on a host. `owner` and `group` are names."""

    component: str
    content: bytes
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Secret:
    """A file whose bytes the deploy fetches through `reference`; they never are in a bundle."""

    component: str
    reference: str
    mode: str = "0600"
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Component:
    """What is tested, reloaded or restarted as one. See docs/reference/bundle.md for each field."""

    name: str
    generation: str
    units: tuple[str, ...] = ()
    change: Literal["reload", "restart", "none"] = "none"
    test: tuple[tuple[str, ...], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    running: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    cuts: str = "no socket"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def generation(files: Iterable[tuple[str, File]]) -> str:
    """The hash of a component's files, short enough to be read aloud."""
    whole = hashlib.sha256()
    for path, file in sorted(files):
        whole.update(f"{path}\0{file.mode}\0{file.owner}\0{file.group}\0{digest(file.content)}\n".encode())
    return whole.hexdigest()[:12]


def host_manifest(
    identity: Mapping[str, Any], files: Mapping[str, File], secrets: Mapping[str, Secret], components: list[Component]
) -> bytes:
    """`identity`: host, os, arch, packages, users. `release` is the hash of all the rest."""
    body: dict[str, Any] = {
        "format": FORMAT,
        **identity,
        "files": {
            path: {
                "component": file.component, "sha256": digest(file.content),
                "mode": file.mode, "owner": file.owner, "group": file.group,
            }
            for path, file in sorted(files.items())
        },
        "secrets": {path: asdict(secret) for path, secret in sorted(secrets.items())},
        "components": [asdict(component) for component in components],
    }  # fmt: skip
    return to_json({**body, "release": digest(to_json(body))[:16]})


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
