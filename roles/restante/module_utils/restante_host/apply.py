"""From the release that serves to another one, and back by itself when what was changed does not come up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import changes, deadman, diff, files, health, trees, trial, units
from .changes import Step
from .errors import FailedError, RefusedError
from .manifest import Component, Manifest, nothing
from .store import Store
from .system import Host

FIREWALL = "nftables"
BEFORE_US = "What was there before the first release is back."
FIREWALL_OFF = "THE FIREWALL IS OFF: our table is not loaded; the next deploy loads it again, with a new confirmation."
# Seconds -> the dead-man's switch waits so long from now.
Arm = Callable[[int], None]
# Folder -> {archive, sha256}.
Archives = Mapping[str, Mapping[str, str]]


@dataclass
class Report:
    """What was found and done, for the result of the module."""

    release: str
    changes: changes.Changes
    diff: list[dict[str, Any]] = field(default_factory=list)
    tests: list[trial.Verdict] = field(default_factory=list)
    confirm: bool = False
    serving: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "serving": self.serving or "",
            "needed": self.changes.needed,
            "changes": self.changes.as_json(),
            "diff": self.diff,
            "tests": [verdict.as_json() for verdict in self.tests],
            "confirm": self.confirm,
        }


def compare(host: Host, new: Manifest) -> Report:
    """Read-only and without the release's bytes: enough to know whether anything is to be done."""
    changes.same_kind(host, new)
    store = Store(host)
    return Report(new.release, changes.compare(store, new), serving=store.serving)


def rehearse(host: Host, new: Manifest, contents: Mapping[str, bytes]) -> Report:
    """Everything up to the first change: what would be done, its diff, and the tests on the staged tree."""
    changes.same_kind(host, new)
    return _rehearse(changes.step(Store(host), new, contents))


def apply(
    host: Host, new: Manifest, contents: Mapping[str, bytes], code: Path, archives: Archives | None = None,
    serving: str | None = None,
) -> Report:  # fmt: skip
    """Make `new` the release that serves, or leave the one before. `code`: what a dead-man's switch runs from.

    `archives`: what was sent of the release's trees. `serving`: what served when this deploy compared the host; another deploy that
    has been here since would have its other hosts on a release of its own.
    """
    changes.same_kind(host, new)
    store = Store(host)
    with store.locked():
        if serving is not None and serving != (store.serving or ""):
            raise RefusedError(
                "another deploy has changed this host since this one compared it, and nothing was changed: "
                "when that has ended, deploy what all hosts are to have"
            )
        step = changes.step(store, new, contents)
        # A folder of its own that nobody uses yet: no change until a unit names it.
        trees.unpack(host, step.changes.trees, archives or {})
        report = _rehearse(step)
        if not step.changes.needed:
            return report
        store.stage(new, contents)
        for component in _moved(step):
            health.spare(host, component)
        _users(host, step.changes.users)
        # Started again or changed: either way it may close the door.
        report.confirm = FIREWALL in step.changes.touched | step.changes.idle
        _replace(step, (lambda seconds: deadman.arm(host, code, seconds)) if report.confirm else None)
        if not report.confirm:
            store.commit()
        return report


def confirm(host: Host) -> None:
    """A new connection came through the new firewall: the release serves."""
    store = Store(host)
    with store.locked(wait_s=deadman.LOCK_LIMIT_S):
        if not deadman.armed(host):
            raise RefusedError("the connection came too late")
        deadman.disarm(host)
        store.commit()


def back(host: Host) -> str:
    """No new connection comes through: put the release before back now."""
    store = Store(host)
    with store.locked(wait_s=deadman.LOCK_LIMIT_S):
        pending = store.linked("pending")
        said = open_and_put_back(store, pending) if pending else "The host has put the release before back by itself."
        deadman.disarm(host)
        return said


def previous(host: Host) -> tuple[Manifest, dict[str, bytes]]:
    """The release to roll back to, which is whole on the host."""
    store = Store(host)
    found = store.linked("previous")
    if found is None:
        raise RefusedError(
            "this host keeps no earlier release, so there is nothing to go back to; deploy the spec you want instead"
        )
    return found, store.contents(found)


def open_and_put_back(store: Store, failed: Manifest) -> str:
    """Put back after our table was loaded: it goes first, and its unit with it, so that the release before loads its own.

    The very release that served before has no other to load. Its unit is disabled then: neither a reboot nor a start
    closes the door unconfirmed, and the next deploy, which finds the unit off, asks for a confirmation.
    """
    old = store.linked("current") or nothing(failed.host)
    same = old.identity == failed.identity
    deadman.open_up(store.host)
    for component in (found for found in old.components if found.name == FIREWALL):
        (units.leave if same else units.stop)(store.host, component.units)
    said = put_back(store, failed)
    return f"{said} {FIREWALL_OFF}" if same else said


def put_back(store: Store, failed: Manifest) -> str:
    """Put the release that served before, or what was there before us, back in place; what to tell the operator."""
    old = store.linked("current") or nothing(failed.host)
    if old.identity == failed.identity:
        store.finish()
        return "It is the release that served before, so there is none to put back."
    step = changes.step(store, old, store.contents(old))
    stay = store.active_before() & set(step.changes.left)
    _move(step, _beside(step), stay, None)
    store.finish()
    return f"The release before ({old.release}) is back and serves again." if old.release else BEFORE_US


def _rehearse(step: Step) -> Report:
    tests = trial.run(step) if step.changes.needed else []
    trial.demand(tests)
    return Report(step.new.release, step.changes, diff.entries(step), tests, serving=step.store.serving)


def _users(host: Host, names: Sequence[str]) -> None:
    for name in names:
        created = host.system.run([*trial.USERADD, name])
        if created.code != 0:
            raise RefusedError(f"the user {name} could not be created: {created.said}")


def _replace(step: Step, arm: Arm | None) -> None:
    """The change itself, with the way back."""
    ours = {path for old in step.known for path in old.items}
    try:
        # Whatever lies there and is not ours, even with the very bytes of ours: from now on its path is.
        for path in step.new.items:
            if path not in ours:
                step.store.keep_original(path)
        beside = _beside(step)
    except (OSError, RefusedError) as error:
        step.store.sweep()
        raise RefusedError(f"the files could not be written ({error}); nothing was changed") from error
    watched = step.new.units.union(*(old.units for old in step.known))
    step.store.begin(step.new, units.active(step.host, watched))
    try:
        _move(step, beside, frozenset(), arm)
    except (FailedError, RefusedError, OSError) as error:
        component = None if isinstance(error, OSError) else error.component
        back = _way_back(step)
        raise FailedError(f"{component or 'files'}: {error}\n{back}", component) from error


def _way_back(step: Step) -> str:
    """The table goes only if this run had come to load it: a failure before leaves the one that serves."""
    armed = deadman.armed(step.host)
    try:
        said = (open_and_put_back if armed else put_back)(step.store, step.new)
    except (FailedError, RefusedError, OSError) as error:
        said = f"Putting the release before back failed too: {error}"
        said += f" {FIREWALL_OFF}" if armed else ""
    if armed:
        deadman.disarm(step.host)
    return said


def _beside(step: Step) -> list[Path]:
    """All that can fail for want of space or of a user happens here, before the first rename."""
    beside: list[Path] = []
    try:
        for path in step.changes.write:
            beside.append(files.write_beside(step.host, step.new.items[path], step.contents[path]))
    except BaseException:
        for written in beside:
            written.unlink(missing_ok=True)
        raise
    return beside


def _moved(step: Step) -> list[Component]:
    """Those that the change acts on, in the order in which they are applied."""
    return [each for each in step.new.components if each.name in step.changes.touched | step.changes.idle]


def _move(step: Step, beside: Sequence[Path], stay: frozenset[str], arm: Arm | None) -> None:
    """`stay`: units that leave the release and run on all the same, because they ran before it."""
    host, found = step.host, step.changes
    units.leave(host, set(found.left) - stay)
    for path in beside:
        files.swap(path)
    for gone in found.prune:
        step.store.give_back(gone)
    if any(path.startswith(units.FOLDER) for path in (*found.write, *found.prune)):
        units.reload_manager(host)
    moved = _moved(step)
    for component in moved:
        if arm and component.name == FIREWALL:
            arm(deadman.WHILE_APPLYING_S)
        units.act(host, component, touched=component.name in found.touched)
        health.wait(host, component)
        health.settled(host, component)
    units.again(host, stay)
    health.steady(host, moved)
    if arm:
        arm(deadman.UNTIL_CONFIRMED_S)
