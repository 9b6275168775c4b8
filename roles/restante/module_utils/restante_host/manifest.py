"""What a release of one host contains, read from the bundle's hosts/<host>/manifest.json."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .errors import RefusedError

FORMAT = 1
STATE = "/var/lib/restante"
TREES = "/opt/restante/server"
# What the store keeps for itself below STATE; no release may write there.
RESERVED = frozenset({"releases", "originals", "current", "previous", "pending", "lock", "deadman"})
CHANGES = ("reload", "restart", "none")


@dataclass(frozen=True)
class Item:
    """One file on the host. A secret's bytes are never in the bundle, nor in a diff."""

    path: str
    component: str
    sha256: str
    mode: int
    owner: str
    group: str
    reference: str | None = None

    @property
    def secret(self) -> bool:
        return self.reference is not None

    def as_json(self) -> dict[str, Any]:
        entry = {"component": self.component, "sha256": self.sha256, "mode": f"{self.mode:04o}"}
        entry |= {"owner": self.owner, "group": self.group}
        return entry | ({"reference": self.reference} if self.reference is not None else {})


@dataclass(frozen=True)
class Component:
    """What is tested, started and watched together."""

    name: str
    generation: str
    test: tuple[tuple[str, ...], ...] = ()
    units: tuple[str, ...] = ()
    change: str = "none"
    commands: tuple[tuple[str, ...], ...] = ()
    running: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A release as its host sees it. Components are in the order in which they are applied."""

    host: str
    release: str
    os: str = ""
    arch: str = ""
    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    items: Mapping[str, Item] = field(default_factory=dict)
    components: tuple[Component, ...] = ()
    trees: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The release's folder name in the store.

        A secret that changed behind the same reference is another release to keep, though the bundle's bytes, and so
        its release id, are the same.
        """
        secrets = sorted((item.path, item.sha256) for item in self.items.values() if item.secret)
        return f"{self.release}-{hashlib.sha256(repr(secrets).encode()).hexdigest()[:8]}" if secrets else self.release

    @property
    def units(self) -> frozenset[str]:
        return frozenset(unit for component in self.components for unit in component.units)

    def component(self, name: str) -> Component | None:
        return next((component for component in self.components if component.name == name), None)

    def areas(self) -> frozenset[str]:
        return frozenset(area(path) for path in self.items)

    def as_json(self) -> dict[str, Any]:
        """As in the bundle, but with the sha256 of each secret: what the store needs to tell one that changed."""
        return {
            "format": FORMAT,
            "host": self.host,
            "release": self.release,
            "os": self.os,
            "arch": self.arch,
            "packages": list(self.packages),
            "users": list(self.users),
            "files": {item.path: item.as_json() for item in self.items.values() if not item.secret},
            "secrets": {item.path: item.as_json() for item in self.items.values() if item.secret},
            "components": [vars(component) for component in self.components],
            "trees": {path: dict(tree) for path, tree in self.trees.items()},
        }


def nothing(host: str) -> Manifest:
    """What a host has before its first release: going back to it restores what was there before us."""
    return Manifest(host=host, release="")


def area(path: str) -> str:
    """The folder that a test sees instead of the live one: all of /etc, elsewhere only what is ours."""
    pure = PurePosixPath(path)
    sound = path.isprintable() and str(pure) == path and ".." not in pure.parts
    match pure.parts if sound else ():
        case ("/", "etc", _, *_):
            return "/etc"
        case ("/", "usr", "local", "lib", "restante", _, *_):
            return "/usr/local/lib/restante"
        case ("/", "usr", "local", "sbin", "restante"):
            return "/usr/local/sbin"
        case ("/", "opt", folder, _, *_):
            return f"/opt/{folder}"
        case ("/", "var", "lib", "restante", folder, _, *_) if folder not in RESERVED:
            return f"{STATE}/{folder}"
    raise RefusedError(
        f"{path!r} is no place for a file of a release; accepted are plain paths below /etc, /usr/local/lib/restante, "
        "/usr/local/sbin/restante, "
        f"/opt/<folder> and {STATE}/<folder>, where <folder> is none of {', '.join(sorted(RESERVED))}"
    )


def parse(raw: Mapping[str, Any], secrets: Mapping[str, str] | None = None) -> Manifest:
    """A manifest as written by render (`secrets`: path -> sha256, from the controller) or by the store."""
    if raw.get("format") != FORMAT:
        raise RefusedError(
            f"the manifest has format {raw.get('format')!r}; this role reads format {FORMAT}: render again"
        )
    try:
        manifest = _parse(raw, secrets or {})
    except KeyError as error:
        raise RefusedError(f"the manifest of {raw.get('host', 'this host')} lacks {error}: render again") from error
    for item in manifest.items.values():
        area(item.path)
        if manifest.component(item.component) is None:
            raise RefusedError(f"{item.path} belongs to component {item.component!r}, which the manifest does not have")
    for component in manifest.components:
        if component.change not in CHANGES:
            raise RefusedError(f"{component.name}: change is {component.change!r}; accepted are {', '.join(CHANGES)}")
    for path, tree in manifest.trees.items():
        if not re.fullmatch(rf"{TREES}/[0-9a-f]+", path) or manifest.component(tree["component"]) is None:
            raise RefusedError(f"{path!r} is no folder that a release may bring; accepted are {TREES}/<hex digits>")
    return manifest


def _parse(raw: Mapping[str, Any], secrets: Mapping[str, str]) -> Manifest:
    files = (_item(path, entry, entry["sha256"]) for path, entry in raw["files"].items())
    hidden = (_item(path, e, secrets.get(path) or e["sha256"]) for path, e in raw.get("secrets", {}).items())
    return Manifest(
        host=raw["host"],
        release=raw["release"],
        os=raw["os"],
        arch=raw["arch"],
        packages=tuple(raw["packages"]),
        users=tuple(raw["users"]),
        items={item.path: item for item in (*files, *hidden)},
        components=tuple(_component(entry) for entry in raw["components"]),
        trees=raw.get("trees") or {},
    )


def _item(path: str, entry: Mapping[str, Any], sha256: str) -> Item:
    mode = int(entry["mode"], 8)
    return Item(path, entry["component"], sha256, mode, entry["owner"], entry["group"], entry.get("reference"))


def _component(entry: Mapping[str, Any]) -> Component:
    return Component(
        name=entry["name"],
        generation=entry["generation"],
        test=_commands(entry.get("test")),
        units=tuple(entry.get("units") or ()),
        change=entry.get("change", "none"),
        commands=_commands(entry.get("commands")),
        running=tuple(entry.get("running") or ()),
        listens=tuple(entry.get("listens") or ()),
        before=tuple(entry.get("before") or ()),
        settled=tuple(entry.get("settled") or ()),
    )


def _commands(commands: Iterable[Iterable[str]] | None) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(argv) for argv in commands or ())
