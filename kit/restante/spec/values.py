"""The small types of a spec: durations, sizes, shares, names, addresses, references. Each refuses with a sentence."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_DURATION = re.compile(r"([0-9]+)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_S = 30 * 86400
SHORTEST_BACKUP_S = 600
_SIZE = re.compile(r"([0-9]+)(K|M|G|T)")
_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_LABEL = re.compile(LABEL)
_DOMAIN = re.compile(rf"({LABEL}\.)+{LABEL}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_ROUTE = re.compile(r"/[A-Za-z0-9._~/-]*")
_FILE = re.compile(r"/[A-Za-z0-9._@+/-]*[A-Za-z0-9._@+-]")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+\.(service|socket|target|mount|path|timer)")
_LOCAL = r"[a-z0-9!#$&*+=?^_{|}~-]+(\.[a-z0-9!#$&*+=?^_{|}~-]+)*"  # RFC 5321 Dot-string without %, / and quotes
_MAILBOX = re.compile(rf"{_LOCAL}(@({LABEL}\.)+{LABEL})?")
_ORIGIN = re.compile(rf"https?://({LABEL}\.)*{LABEL}(:[0-9]{{1,5}})?")
_DEPLOYED = ("current", "deadman", "lock", "originals", "pending", "previous", "recipients", "releases")
# Where backups would be lost, or in the way; units of the kit see nothing of the homes.
_NO_BACKUPS = {
    **dict.fromkeys(
        ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/sbin", "/sys", "/usr"), "the system's"
    ),
    **dict.fromkeys(("/run", "/var/run", "/tmp", "/var/tmp"), "emptied at boot or by age"),  # noqa: S108
    **dict.fromkeys(("/home", "/root"), "closed to units"),
    **dict.fromkeys(("/var/lib/postgresql", "/var/lib/restante/post"), "the store's own, which a restore replaces"),
    **dict.fromkeys((f"/var/lib/restante/{name}" for name in _DEPLOYED), "the kit's own"),
}
_SHARED = {
    "/",
    "/media",
    "/mnt",
    "/srv",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/lib/restante",
    "/var/log",
    "/var/spool",
}
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def refuse(message: str) -> PydanticCustomError:
    """The error that a validator raises: `message` is the whole sentence that the operator reads."""
    return PydanticCustomError("restante", "{sentence}", {"sentence": message})


def _duration(value: Any) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        raise refuse(f"{value} has no unit; write {value}s for seconds (units: s, m, h, d)")
    if not match:
        raise refuse(f"{value!r} is not a duration; write a whole number and a unit: 15s, 5m, 1h or 3d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if not 1 <= seconds <= LONGEST_S:
        raise refuse(f"{value} is out of range; accepted: 1s to {LONGEST_S // 86400}d")
    return seconds


def _size(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise refuse(f"{value!r} is not a size; write a whole number and a unit: 512K, 64M, 2G or 1T (powers of 1024)")
    return int(match[1]) * _BYTES[match[2]]


def _percent(value: Any) -> int:
    match = re.fullmatch(r"([0-9]{1,3})%", value) if isinstance(value, str) else None
    if not match or int(match[1]) > 100:
        raise refuse(f"{value!r} is not a share; write a whole percentage from 0% to 100%")
    return int(match[1])


def _matching(pattern: re.Pattern[str], what: str, accepted: str) -> BeforeValidator:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise refuse(f"{value!r} is not {what}; accepted: {accepted}")
        return value

    return BeforeValidator(check)


def _route(value: Any) -> str:
    if not isinstance(value, str) or not _ROUTE.fullmatch(value) or "//" in value or "/../" in f"{value}/":
        raise refuse(f"{value!r} is not a route path; it starts with / and has letters, digits and . _ ~ - / only")
    return value


def _host_path(value: Any) -> str:
    if not isinstance(value, str) or not _FILE.fullmatch(value) or "//" in value or "/../" in f"{value}/":
        raise refuse(f"{value!r} is not an absolute path; accepted: / and letters, digits and . _ @ + - / without ..")
    return value


def _backup_folder(value: Any) -> str:
    path = _host_path(value)
    for folder, why in _NO_BACKUPS.items():
        if f"{path}/".startswith(f"{folder}/"):
            raise refuse(
                f"{path} cannot hold backups: {folder} is {why}; accepted: another folder of its own, as in /srv/backups"
            )
    if path in _SHARED:
        raise refuse(f"{path} is shared with others; give backups a folder of their own, as in /srv/backups")
    return path


def _ipv4(value: Any) -> str:
    try:
        return str(ipaddress.IPv4Address(value if isinstance(value, str) else ""))
    except ValueError:
        raise refuse(f"{value!r} is not an IPv4 address; an example: 192.0.2.11") from None


def _ipv6(value: Any) -> str:
    try:
        return str(ipaddress.IPv6Address(value if isinstance(value, str) and "%" not in value else "").compressed)
    except ValueError:
        raise refuse(f"{value!r} is not an IPv6 address; an example: 2001:db8::11") from None


def _floating(value: Any) -> str:
    try:
        address = ipaddress.ip_interface(value if isinstance(value, str) and "/" in value and "%" not in value else "")
    except ValueError:
        raise refuse(
            f"{value!r} is not an address with its network's prefix; an example: 192.0.2.100/24, or 2001:db8::100/64"
        ) from None
    network = address.network
    if network.num_addresses < 4:
        raise refuse(f"{address} leaves no room for edges beside it; give the prefix of the network that they are in")
    if address.ip in {network.network_address, network.broadcast_address}:
        raise refuse(f"{address.ip} is the whole of {network}, no address in it; an example: 192.0.2.100/24")
    if address.is_loopback or address.is_link_local or address.is_multicast:
        raise refuse(f"{address.ip} means something else on every host; give an address that agents can reach")
    return str(address)


def _network(value: Any) -> str:
    try:
        network = ipaddress.ip_network(value if isinstance(value, str) and "%" not in value else "")
        return str(network.network_address if network.num_addresses == 1 else network)
    except ValueError as error:
        raise refuse(f"{value!r} is not a network ({error}); an example: 198.51.100.0/24") from None


def _reference(value: Any) -> str:
    """`file:PATH` (plain, or encrypted with ansible-vault) or `env:NAME`; the value itself is not repeated: it may be secret."""
    kind, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind == "file" and re.fullmatch(r"[A-Za-z0-9._@+/-]+", rest):
        return str(value)
    if kind == "env" and _ENV.fullmatch(rest):
        return str(value)
    raise refuse(
        "a secret is written here in clear or in an unknown form; give a reference: file:PATH (plain or encrypted with "
        "ansible-vault, relative to the spec) or env:NAME"
    )


def _tls_file(value: Any) -> str:
    if isinstance(value, str) and value.startswith("host:"):
        return f"host:{_host_path(value.removeprefix('host:'))}"
    return _reference(value)


def _argv(value: Any) -> tuple[str, ...]:
    """A command line, as one string or as a list; the words reach systemd quoted, so `%` and `$` stay what they are."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise refuse(f"{value!r} is not a command line: {error}") from None
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) for word in words):
        raise refuse(f"{value!r} is not a command; write one line of text, or a list of words")
    if any("\n" in word for word in words):
        raise refuse("a line break is in this command; a unit has one command per line: put a script in a file instead")
    if not str(words[0]).startswith("/"):
        raise refuse(f"the program {words[0]!r} has no absolute path; systemd wants one, as in /usr/bin/python3")
    return tuple(words)


def _line(value: Any) -> str:
    if isinstance(value, bool | float):
        raise refuse(f"{value} would lose its spelling here; write it in quotes")
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or "\n" in value:
        raise refuse(f"{value!r} is not one line of text")
    return value


def _reason(value: Any) -> str:
    if not isinstance(value, str) or len(value.split()) < 3 or "\n" in value:
        raise refuse("a written reason is missing; say in one line, in at least three words, why this is as it is")
    return value


def _listen(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    if isinstance(value, str) and re.fullmatch(r"/run/[a-z0-9_-]+/[A-Za-z0-9._-]+", value):
        return value
    raise refuse(f"{value!r} is nothing to listen on; give a TCP port (1-65535) or a unix socket as /run/NAME/FILE")


_TEXT = {"type": "string"}

Duration = Annotated[int, BeforeValidator(_duration), WithJsonSchema({**_TEXT, "pattern": "^[0-9]+(s|m|h|d)$"})]
Size = Annotated[int, BeforeValidator(_size), WithJsonSchema({**_TEXT, "pattern": "^[0-9]+(K|M|G|T)$"})]
Percent = Annotated[int, BeforeValidator(_percent), WithJsonSchema({**_TEXT, "pattern": "^[0-9]{1,3}%$"})]
Label = Annotated[str, _matching(_LABEL, "a name", "a-z, 0-9 and -, at most 63, as in a DNS label")]
Domain = Annotated[
    str, _matching(_DOMAIN, "a domain name", "mail.example.org; write an international name in its xn-- form")
]
UserName = Annotated[str, _matching(_USER, "a user name", "a-z, 0-9, _ and -, at most 31, starting with a letter or _")]
UnitName = Annotated[str, _matching(_UNIT, "a systemd unit", "postgresql.service, network-online.target and the like")]
EnvName = Annotated[str, _matching(_ENV, "a name of an environment variable", "letters, digits and _")]
Mailbox = Annotated[str, _matching(_MAILBOX, "an inbox", "support, or support@example.org, in lower case")]
Origin = Annotated[str, _matching(_ORIGIN, "an origin", "https://app.example.org, without a path")]
RoutePath = Annotated[str, BeforeValidator(_route)]
HostPath = Annotated[str, BeforeValidator(_host_path)]
BackupFolder = Annotated[str, BeforeValidator(_backup_folder)]
IPv4 = Annotated[str, BeforeValidator(_ipv4), WithJsonSchema({**_TEXT, "format": "ipv4"})]
IPv6 = Annotated[str, BeforeValidator(_ipv6), WithJsonSchema({**_TEXT, "format": "ipv6"})]
FloatingAddress = Annotated[str, BeforeValidator(_floating), WithJsonSchema({**_TEXT, "pattern": "/[0-9]{1,3}$"})]
Network = Annotated[str, BeforeValidator(_network)]
Reference = Annotated[str, BeforeValidator(_reference), WithJsonSchema({**_TEXT, "pattern": "^(file|env):"})]
TlsFile = Annotated[str, BeforeValidator(_tls_file), WithJsonSchema({**_TEXT, "pattern": "^(file|env|host):"})]
Argv = Annotated[
    tuple[str, ...],
    BeforeValidator(_argv),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}),
]
Line = Annotated[str, BeforeValidator(_line), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Reason = Annotated[str, BeforeValidator(_reason)]
Listen = Annotated[
    int | str,
    BeforeValidator(_listen),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {**_TEXT, "pattern": "^/run/"}]}),
]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
