"""systemd on the host: unit states, and the actions that a changed component needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import FailedError
from .manifest import Component
from .system import Host

# A unit that we render may take 150 s to start (TimeoutStartSec) after 30 s, or what the spec says, to stop.
SYSTEMCTL_LIMIT_S = 300
FOLDER = "/etc/systemd/system/"
PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts")
# systemctl(1), is-enabled: these need, or allow, no enabling.
ENABLED = frozenset({"enabled", "enabled-runtime", "alias", "static", "indirect", "generated", "transient"})


@dataclass(frozen=True)
class Unit:
    """What `systemctl show` says of one unit."""

    active: str
    sub: str
    enabled: bool
    restarts: int

    @property
    def up(self) -> bool:
        return self.active in {"active", "reloading"}


def states(host: Host, names: Iterable[str]) -> dict[str, Unit]:
    """One call for all units: systemctl answers in the order asked, a blank line between."""
    ordered = sorted(names)
    if not ordered:
        return {}
    shown = host.system.run(["systemctl", "show", "--property", ",".join(PROPERTIES), "--", *ordered])
    blocks = shown.out.strip("\n").split("\n\n")
    if shown.code != 0 or len(blocks) != len(ordered):
        raise FailedError(f"systemctl cannot tell the state of {', '.join(ordered)}: {shown.said}")
    return {name: _unit(block) for name, block in zip(ordered, blocks, strict=True)}


def _unit(block: str) -> Unit:
    values = dict(line.partition("=")[::2] for line in block.splitlines())
    restarts = values.get("NRestarts", "0")
    return Unit(
        active=values["ActiveState"],
        sub=values["SubState"],
        enabled=values.get("UnitFileState", "") in ENABLED,
        restarts=int(restarts) if restarts.isdigit() else 0,
    )


def active(host: Host, names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name, unit in states(host, names).items() if unit.up)


def reload_manager(host: Host) -> None:
    _systemctl(host, None, "daemon-reload")


def leave(host: Host, names: Iterable[str]) -> None:
    """Stop and disable what no longer belongs to the release, while its files are still there."""
    if gone := sorted(names):
        _systemctl(host, None, "disable", "--now", "--", *gone)


def stop(host: Host, names: Iterable[str]) -> None:
    if still := sorted(names):
        _systemctl(host, None, "stop", "--", *still)


def again(host: Host, names: Iterable[str]) -> None:
    """A unit that ran before us runs again, with its own files."""
    for name in sorted(names):
        _systemctl(host, None, "reload-or-restart", "--", name)


def act(host: Host, component: Component, *, touched: bool) -> None:
    """Run what a change of the component asks for; without one see to it that its units are enabled and started."""
    for argv in component.commands if touched else ():
        done = host.system.run(argv)
        if done.code != 0:
            raise FailedError(f"`{' '.join(argv)}` failed: {done.said}", component.name)
    found = states(host, component.units)
    if failed := [name for name, unit in found.items() if unit.active == "failed"]:
        _systemctl(host, component, "reset-failed", "--", *failed)
    if disabled := [name for name, unit in found.items() if not unit.enabled]:
        _systemctl(host, component, "enable", "--", *disabled)
    verb = {"reload": "reload-or-restart", "restart": "restart"}.get(component.change) if touched else None
    names = list(component.units) if verb else [name for name, unit in found.items() if not unit.up]
    if names:
        _systemctl(host, component, verb or "start", "--", *names)


def journal(host: Host, names: Sequence[str], lines: int = 20) -> str:
    """The last lines of the units' journal, for a person who has to find the cause."""
    if not names:
        return ""
    chosen = [part for name in names for part in ("--unit", name)]
    read = host.system.run(
        ["journalctl", "--no-pager", "--quiet", "--output", "short-iso", "--lines", str(lines), *chosen]
    )
    return f"\nLast lines of the journal of {', '.join(names)}:\n{read.said}"


def _systemctl(host: Host, component: Component | None, *arguments: str) -> None:
    done = host.system.run(["systemctl", *arguments], timeout=SYSTEMCTL_LIMIT_S)
    if done.code != 0:
        names = component.units if component else ()
        message = f"`systemctl {' '.join(arguments)}` failed: {done.said}{journal(host, names)}"
        raise FailedError(message, component.name if component else None)
