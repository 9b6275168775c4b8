"""Two bundles -> what changes on each host, and what that means for the sockets it holds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from restante.render.bundle import Bundle

_MEANS = {"reload": "reload", "restart": "restart", "none": "nothing is reloaded"}


@dataclass(frozen=True)
class Effect:
    """What applying the new bundle does to one component of a host. `action`: reload, restart, start, stop, none or left."""

    host: str
    component: str
    action: str
    cuts: str
    units: tuple[str, ...]


def unified(old: Bundle, new: Bundle) -> Iterator[str]:
    """Unified diff of the hosts' files, by path."""
    for path in sorted(old.keys() | new.keys()):
        if not path.startswith("hosts/") or path.count("/") == 2 or old.get(path) == new.get(path):
            continue
        if any(b"\0" in bundle.get(path, b"") for bundle in (old, new)):
            yield f"binary file {path} differs\n"
            continue
        before, after = (bundle.get(path, b"").decode("utf-8", "replace").splitlines(True) for bundle in (old, new))
        names = (path if path in old else "/dev/null", path if path in new else "/dev/null")
        yield from difflib.unified_diff(before, after, *names)


def effects(old: Bundle, new: Bundle) -> list[Effect]:
    """Per host and component whose generation or secrets differ."""
    found: list[Effect] = []
    if old.get("inventory.yml") != new.get("inventory.yml"):
        found.append(Effect("every host", "inventory", "none", "no socket", ()))
    for host in sorted(_hosts(old) | _hosts(new)):
        if host not in _hosts(new):
            found.append(Effect(host, "host", "left", "no socket", ()))
            continue
        if host in _hosts(old) and _identity(old, host) != _identity(new, host):
            found.append(Effect(host, "packages and users", "none", "no socket", ()))
        before, after = _components(old, host), _components(new, host)
        for name in [*after, *(before.keys() - after.keys())]:
            if before.get(name) != after.get(name):
                found.append(_effect(host, name, before.get(name), after.get(name)))
    return found


def _effect(host: str, name: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Effect:
    current = after or before or {}
    action = "start" if not before else "stop" if not after else str(current["change"])
    cuts = "no socket" if action == "start" or (after and after["change"] == "none") else str(current["cuts"])
    return Effect(host, name, action, cuts, tuple(current["units"]))


def _hosts(bundle: Bundle) -> set[str]:
    return {path.split("/")[1] for path in bundle if path.startswith("hosts/") and path.endswith("/manifest.json")}


def _identity(bundle: Bundle, host: str) -> dict[str, Any]:
    manifest = json.loads(bundle[f"hosts/{host}/manifest.json"])
    return {key: manifest[key] for key in ("os", "arch", "packages", "users")}


def _components(bundle: Bundle, host: str) -> dict[str, dict[str, Any]]:
    text = bundle.get(f"hosts/{host}/manifest.json")
    manifest = json.loads(text) if text else {"components": [], "secrets": {}}
    return {
        component["name"]: {
            **component,
            "secrets": {
                path: secret for path, secret in manifest["secrets"].items() if secret["component"] == component["name"]
            },
        }
        for component in manifest["components"]
    }


def sentence(effect: Effect) -> str:
    units = ", ".join(effect.units)
    if effect.action == "left":
        return f"{effect.host}: left the spec: a deploy does nothing there, what it runs goes on running"
    if effect.action in {"start", "stop"}:
        return f"{effect.host}: {effect.component} is {'new' if effect.action == 'start' else 'gone'}: {effect.action} {units}".rstrip()
    means = _MEANS[effect.action] + (f" {units}" if effect.action != "none" and units else "")
    return f"{effect.host}: {effect.component} changed: {means}; cuts {effect.cuts}"
