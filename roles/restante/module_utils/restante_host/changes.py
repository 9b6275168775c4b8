"""The live host against a release: what would have to be done, and why. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import files, health, trees, units
from .errors import RefusedError
from .manifest import Item, Manifest
from .store import Store
from .system import Host


@dataclass(frozen=True)
class Changes:
    """What separates the host from the release.

    `touched`: component -> why its change action has to run. `idle`: component -> which of its units only have to be
    enabled or started. `trees`: folders to bring. `unrecorded`: the store does not yet say that this release serves.
    """

    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    prune: tuple[str, ...] = ()
    touched: dict[str, str] = field(default_factory=dict)
    idle: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    unrecorded: bool = False

    @property
    def needed(self) -> bool:
        return any(vars(self).values())

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Step:
    """From what is on the host to the release `new`, whose bytes are `contents`."""

    store: Store
    new: Manifest
    known: Sequence[Manifest]
    changes: Changes
    contents: Mapping[str, bytes]

    @property
    def host(self) -> Host:
        return self.store.host


def step(store: Store, new: Manifest, contents: Mapping[str, bytes]) -> Step:
    return Step(store, new, store.known(), compare(store, new), contents)


def same_kind(host: Host, release: Manifest) -> None:
    """Refuse a host of another distribution or architecture than the release was rendered for."""
    if not release.os:
        return
    lines = host.path("/etc/os-release").read_text().splitlines()
    values = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    found = f"{values.get('ID', 'unknown')}-{values.get('VERSION_ID', 'unknown')}"
    if found != release.os:
        raise RefusedError(
            f"this host runs {found}, and the release was rendered for {release.os}: correct the spec's `os`"
        )
    arch = host.system.run(["dpkg", "--print-architecture"]).out.strip()
    if arch != release.arch:
        raise RefusedError(
            f"this host is {arch}, and the release was rendered for {release.arch}: correct the spec's `arch`"
        )


def compare(store: Store, new: Manifest) -> Changes:
    host, known = store.host, store.known()
    write = tuple(path for path, item in new.items.items() if not _equal(files.live(host, path), item))
    gone = sorted({path for old in known for path in old.items} - set(new.items))
    prune = tuple(path for path in gone if files.live(host, path) or files.live(store.kept, path))
    bring = trees.missing(host, new)
    touched = {new.trees[path]["component"]: f"{path} is missing" for path in bring}
    touched |= _by_files(new, known, write, prune) | _interrupted(store, new)
    for component in new.components:
        known_to_change = component.name in touched or not component.running
        if not known_to_change and health.running(host, component) != component.generation:
            touched[component.name] = "its files are right, its process is old"
    left = {unit for old in known for unit in old.units} - new.units
    current = store.linked("current")
    return Changes(
        packages=tuple(missing_packages(host, new.packages)),
        users=tuple(name for name in new.users if host.system.run(["getent", "passwd", name]).code != 0),
        write=write,
        prune=prune,
        touched=touched,
        idle={name: why for name, why in _idle(host, new).items() if name not in touched},
        left=tuple(sorted(_present(host, left))),
        trees=bring,
        unrecorded=current is None or current.identity != new.identity or store.linked("pending") is not None,
    )


def missing_packages(host: Host, packages: Iterable[str]) -> list[str]:
    wanted = list(packages)
    if not wanted:
        return []
    shown = host.system.run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", "--", *wanted])
    installed = {
        name for name, _, state in (line.partition(" ") for line in shown.out.splitlines()) if state == "installed"
    }
    return [name for name in wanted if name not in installed]


def _equal(found: files.Live | None, item: Item) -> bool:
    return found is not None and found.equals(item)


def _by_files(new: Manifest, known: Sequence[Manifest], write: Iterable[str], prune: Iterable[str]) -> dict[str, str]:
    paths: dict[str, list[str]] = {}
    for path in write:
        paths.setdefault(new.items[path].component, []).append(path)
    owners = {path: item.component for old in known for path, item in old.items.items()}
    for path in prune:
        if new.component(owners[path]) is not None:
            paths.setdefault(owners[path], []).append(path)
    return {name: ", ".join(found) for name, found in paths.items()}


def _interrupted(store: Store, new: Manifest) -> dict[str, str]:
    """Components that an unfinished release may have put in place without their change action."""
    pending, current = store.linked("pending"), store.linked("current")
    if pending is None:
        return {}

    def generation(release: Manifest | None, name: str) -> str | None:
        component = release.component(name) if release else None
        return component.generation if component else None

    names = [component.name for component in new.components]
    moved = [name for name in names if generation(pending, name) != generation(current, name)]
    return dict.fromkeys(moved, "an earlier deploy was interrupted")


def _idle(host: Host, new: Manifest) -> dict[str, str]:
    found = units.states(host, new.units)
    idle: dict[str, list[str]] = {}
    for component in new.components:
        for name in component.units:
            if not (found[name].up and found[name].enabled):
                enabled = "enabled" if found[name].enabled else "not enabled"
                idle.setdefault(component.name, []).append(f"{name} is {found[name].active}, {enabled}")
    return {name: "; ".join(why) for name, why in idle.items()}


def _present(host: Host, names: Iterable[str]) -> list[str]:
    """Units that still run or are still enabled: one that is gone already needs no stopping."""
    return [name for name, unit in units.states(host, names).items() if unit.active != "inactive" or unit.enabled]
