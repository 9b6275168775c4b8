"""The machines of a spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from restante.spec.section import Model
from restante.spec.values import IPv4, IPv6, Port, Size, UserName, refuse


class Tier(StrEnum):
    edge = "edge"
    app = "app"
    post = "post"
    store = "store"
    agent = "agent"


class Os(StrEnum):
    debian_12 = "debian-12"
    debian_13 = "debian-13"


class Ssh(Model):
    """How the controller reaches the host."""

    user: UserName = "root"
    """Who logs in."""
    port: Port = 22
    """Where sshd listens; the firewall always leaves it open."""
    become: bool = False
    """Whether the user needs sudo (without a password) to become root."""
    jump: Annotated[str | None, Field(pattern=r"^([a-z_][a-z0-9_-]*@)?[A-Za-z0-9.:-]+$")] = None
    """A jump host, as ssh's ProxyJump takes it: user@host:port."""
    host_key: Annotated[str | None, Field(pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) [A-Za-z0-9+/=]+$")] = (
        None
    )
    """The public host key. Without it the keys that the operator's own known_hosts holds are believed."""


class Host(Model):
    """One Debian host."""

    ipv4: IPv4 | None = None
    """Its IPv4 address, as the others and the controller reach it."""
    ipv6: IPv6 | None = None
    """Its IPv6 address."""
    os: Os
    """The release that it runs."""
    arch: Literal["amd64", "arm64"] = "amd64"
    """Its architecture, as dpkg names it."""
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1)]
    """What it is for: edge (nginx), post (Postfix and post office), store (PostgreSQL), app and agent (your programs)."""
    memory: Size | None = None
    """Its memory. When given, the plan refuses more sockets than fit."""
    ssh: Ssh = Ssh()
    """How the controller reaches it."""

    @model_validator(mode="after")
    def _has_address(self) -> Host:
        if not (self.ipv4 or self.ipv6):
            raise refuse("this host has no address; give ipv4, ipv6 or both")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for address in (self.ipv4, self.ipv6) if address)
