"""The drill's own inboxes and its token: made for one scenario, gone after it; what a killed run left is known by its name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from restante.drills import office
from restante.drills.console import Remote
from restante.errors import FoundError
from restante.lab.system import await_true

# Both must fit: an inbox of somebody's own is not ours because of its name.
MARK = "restante drill"
_OURS = re.compile(r"restante-drill-[0-9a-f]{8}(?P<number>-\d+)?")
QUEUE_S = 60  # Postfix is asked again and again to try what it holds for us


def name() -> str:
    """Of the inboxes and the token of one scenario; no other has it."""
    return f"restante-drill-{secrets.token_hex(4)}"


@contextmanager
def lodging(posts: Sequence[Remote], run: str, inboxes: Sequence[str]) -> Iterator[str]:
    """The token that may receive from these, and from nothing else."""
    host = posts[0]
    try:
        for address in inboxes:
            username, _, domain = address.partition("@")
            office.ask(host, "/inboxes", {"username": username, "domain": domain, "display_name": MARK}, "POST")
        scopes = {address: ["receive", "read"] for address in inboxes}
        yield str(office.ask(host, "/tokens", {"name": run, "scopes": scopes}, "POST")["token"])
    finally:
        leave(posts, run)


def leave(posts: Sequence[Remote], run: str) -> None:
    """Raises FoundError where mail of ours is still under way: to remove its inbox would make it a mail that nobody can deliver."""
    for host in posts:
        office.ready(host)
    for token in tokens(posts[0]):
        if token["name"] == run:
            office.ask(posts[0], f"/tokens/{token['id']}", method="DELETE")
    left = inboxes(posts[0], run)
    stuck = [host.name for host in posts if left and not await_true(partial(_emptied, host, run), QUEUE_S)]
    if stuck:
        raise FoundError(
            f"drill: Postfix on {', '.join(stuck)} still holds mail of the drill, so its inboxes stay ({left[0]}, ...); "
            "the next run removes them when it is delivered"
        )
    for inbox in left:
        office.ask(posts[0], f"/inboxes/{inbox}?force=true", method="DELETE")


def _emptied(host: Remote, run: str) -> bool:
    return office.queued(host, run) == 0


def sweep(posts: Sequence[Remote]) -> list[str]:
    """Remove what killed runs left; their names."""
    runs = {office.local(inbox).rpartition("-")[0] for inbox in inboxes(posts[0])}
    runs |= {token["name"] for token in tokens(posts[0])}
    for run in sorted(runs):
        leave(posts, run)
    return sorted(runs)


def inboxes(host: Remote, run: str = "") -> list[str]:
    """Inboxes of drills, or of this one."""
    return [each["inbox_id"] for each in office.listed(host, "/inboxes") if _is_ours(each, run)]


def _is_ours(inbox: dict[str, Any], run: str) -> bool:
    match = _OURS.fullmatch(inbox["username"])
    return bool(match and match["number"] and inbox["display_name"] == MARK and inbox["username"].startswith(run))


def tokens(host: Remote) -> list[dict[str, Any]]:
    """Tokens of drills that are still good."""
    return [
        each for each in office.ask(host, "/tokens")["items"]
        if not each["revoked_at"] and (match := _OURS.fullmatch(each["name"])) and not match["number"]
    ]  # fmt: skip
