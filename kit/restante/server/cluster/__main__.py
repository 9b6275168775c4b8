"""What a deploy runs on a member: `spare` before it changes the host, `settle` after. A timer runs `look`; `status` is for all."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from restante.errors import FoundError, InputError, RestanteError
from restante.server.cluster.peers import Peers
from restante.server.cluster.settings import ClusterSettings, load
from restante.server.cluster.view import View

POLL_S = 0.5
# A copy of a large store takes its time; what is reached here is a member that does not come at all.
SETTLE_S = 240
MOVE_S = 60
NOTICED_S = 12  # two of Patroni's rounds (cluster.loop_wait): then a member knows that a setting waits for a restart


def spare(settings: ClusterSettings, component: str) -> str:
    """The component is about to be changed here: the others can do without it, and lead. Raises FoundError when they cannot."""
    if not (settings.data / "PG_VERSION").exists():
        return "this member holds nothing yet"
    peers = Peers(settings)
    view = peers.view()
    if why := view.missed():
        raise FoundError(f"{settings.own} cannot be spared: {why}")
    if component == "etcd" or view.leader is None or view.leader.name != settings.own or view.synchronous is None:
        return "nothing to hand over"
    heir = view.synchronous.name
    peers.switch_over(settings.own, heir)
    _until(peers, lambda now: None if now.leader and now.leader.name == heir else f"{heir} does not lead", MOVE_S)
    return f"{heir} leads now"


def settle(settings: ClusterSettings, component: str) -> str:
    """The component was changed here: wait until it is one of the cluster again. Raises FoundError when it does not come."""
    peers = Peers(settings)
    view = _until(peers, View.etcd_unsettled if component == "etcd" else View.unsettled, SETTLE_S)
    if view.too_few:
        return "too few members are there to agree: this one waits for the others"
    if component != "patroni" or not peers.share():
        return "settled"
    end = time.monotonic() + NOTICED_S
    while not (restarted := peers.restart_if_pending()) and time.monotonic() < end:
        time.sleep(POLL_S)
    if restarted:
        _until(peers, View.unsettled, SETTLE_S)
    return "settled; the settings that members share were brought up to date"


def look(settings: ClusterSettings, memory: Path) -> str:
    """Part the leads of PostgreSQL and of etcd when they came onto one host; what a person should be told goes to `memory`/news.

    Settings that members share, and that somebody changed by hand, are put right: a leader without strict mode acknowledges what is
    on one disk.

    Leads on one host fall together, and etcd's next leader counts every word of PostgreSQL's from its own start: seconds are lost.
    """
    peers = Peers(settings)
    view = peers.view()
    _news(memory, view.trouble())
    if view.leader is None or view.leader.name != settings.own:
        return "this member does not lead"
    if peers.share():
        return "the settings that members share had been changed, and are the kit's again"
    heir = peers.part(name for name, good in view.etcd.items() if good)
    return f"etcd is led by {heir} now" if heir else "etcd is led elsewhere"


def _news(memory: Path, trouble: str) -> None:
    """Told once when it was seen twice, and once when it is over: a failover is on its way for a minute at most."""
    seen, told, news = (memory / name for name in ("seen", "told", "news"))
    before, last = (path.read_text() if path.exists() else "" for path in (seen, told))
    seen.write_text(trouble)
    news.unlink(missing_ok=True)
    if trouble == before and trouble != last:
        news.write_text(trouble or f"over: {last}")
        told.write_text(trouble)


def status(settings: ClusterSettings) -> str:
    """As JSON, what this member knows of all."""
    peers = Peers(settings)
    view = peers.view()
    members = [asdict(each) for each in view.members.values()]
    told = {"etcd": view.etcd, "paused": view.paused, "members": members, "trouble": view.trouble()}
    return json.dumps({**told, "shared": bool(members) and peers.shared()})


def _until(peers: Peers, missing: Callable[[View], str | None], limit_s: float) -> View:
    """The first view that lacks nothing; raises FoundError with what the last one lacked."""
    end = time.monotonic() + limit_s
    while why := missing(view := peers.view()):
        if time.monotonic() > end:
            raise FoundError(f"{why}, {limit_s:g} s after the change; journalctl -u patroni -u etcd says more")
        time.sleep(POLL_S)
    return view


def run() -> None:
    """Entry point."""
    try:
        match sys.argv[1:]:
            case ["spare", ("etcd" | "patroni") as component]:
                said = spare(load(), component)
            case ["settle", ("etcd" | "patroni") as component]:
                said = settle(load(), component)
            case ["look"]:
                said = look(load(), Path(os.environ["RUNTIME_DIRECTORY"]))
            case ["status"]:
                said = status(load())
            case words:
                raise InputError(
                    f"cluster {' '.join(words)} is nothing to do; accepted: spare|settle etcd|patroni, look, status"
                )
        sys.stdout.write(f"{said}\n")
    except RestanteError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
