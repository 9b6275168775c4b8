"""What is known of a cluster at one moment, and what follows from it. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEADING = frozenset({"leader", "master", "primary"})  # Patroni 3 and 4
FOLLOWING = frozenset({"streaming", "running"})


@dataclass(frozen=True)
class Member:
    """One PostgreSQL, as Patroni reports it. `lag_bytes` None: unknown, or it leads."""

    name: str
    role: str
    state: str
    timeline: int | None = None
    lag_bytes: int | None = None

    @property
    def leads(self) -> bool:
        return self.role in LEADING and self.state == "running"

    @property
    def is_synchronous(self) -> bool:
        """Each acknowledged commit is on its disk."""
        return self.role in {"sync_standby", "quorum_standby"} and self.state in FOLLOWING

    @property
    def follows(self) -> bool:
        return not self.leads and self.state in FOLLOWING and self.lag_bytes is not None


@dataclass(frozen=True)
class View:
    """`etcd`: whether it is healthy, for each member that answers. `members`: as any of their Patronis knows them, by name."""

    own: str
    names: tuple[str, ...]
    etcd: Mapping[str, bool]
    members: Mapping[str, Member]
    paused: bool = False

    @property
    def quorum(self) -> int:
        return len(self.names) // 2 + 1

    @property
    def leader(self) -> Member | None:
        return next((member for member in self.members.values() if member.leads), None)

    @property
    def synchronous(self) -> Member | None:
        return next((member for member in self.members.values() if member.is_synchronous), None)

    def missed(self) -> str | None:
        """Why this member cannot be spared now: a sentence; None when it can. What is broken already loses nothing."""
        healthy = {name for name, good in self.etcd.items() if good}
        if len(healthy) >= self.quorum > len(healthy - {self.own}):
            return (
                f"etcd is healthy on {', '.join(sorted(healthy))} only, and {self.quorum} are needed to agree who leads; "
                "mend the other members first"
            )
        if self.leader and self._serves(self.own) and not any(member.follows for member in self._others()):
            return (
                "no other member follows the leader, so a commit would wait for this one; mend the other members first"
            )
        if self.leader and self.leader.name == self.own and not self.synchronous:
            return "this member leads, and no other has every commit on its disk; mend the other members first"
        return None

    def unsettled(self) -> str | None:
        """What is still to come before the next host may be touched: a sentence; None when nothing is, or too few are there to agree."""
        own = self.members.get(self.own)
        if self.etcd_unsettled():
            return self.etcd_unsettled()
        if self.too_few:
            return None
        if self.leader is None:
            return "no member leads"
        if own is None or not (own.leads or own.follows):
            return f"PostgreSQL on this host is {own.state if own else 'unknown to the cluster'}, and neither leads nor follows"
        if any(member.follows for member in self.members.values()) and not self.synchronous:
            return "no member is a synchronous standby"
        return None

    @property
    def too_few(self) -> bool:
        """A cluster that has lost most members; or one that is being made: until each etcd has been there once, it speaks version 3.0."""
        return len(self.etcd) < (self.quorum if self.members else len(self.names))

    def etcd_unsettled(self) -> str | None:
        return None if self.too_few or self.etcd.get(self.own) else "etcd on this host is not healthy"

    def trouble(self) -> str:
        """What a person should know, as the member that leads sees it, or each one when none does; nothing when all is well."""
        if self.leader is None:
            return "no member leads: mail waits in Postfix"
        if self.leader.name != self.own:
            return ""
        away = sorted(name for name in self.names if not self._serves(name))
        found = ["no member has every commit: mail waits in Postfix until one does"] * (self.synchronous is None)
        found += [f"{', '.join(away)}: away, or not following; one more death may stop writes"] if away else []
        found += ["automatic failover is paused"] if self.paused else []
        return "; ".join(found)

    def _serves(self, name: str) -> bool:
        member = self.members.get(name)
        return bool(self.etcd.get(name) and member and (member.leads or member.follows))

    def _others(self) -> list[Member]:
        return [member for member in self.members.values() if member.name != self.own]


def members(answer: Mapping[str, Any]) -> dict[str, Member]:
    """From Patroni's GET /cluster."""
    return {
        each["name"]: Member(
            each["name"], each["role"], each["state"], each.get("timeline"),
            lag if isinstance(lag := each.get("lag"), int) else None,
        )
        for each in answer.get("members", ())
    }  # fmt: skip
