"""Runs on the host, read-only, standard library only: one JSON object with all that the checks ask about.

python3 collector.py '{"units": [...], "sysctls": [...], "files": [...], "running": {...}, "nginx": true}'
"""

import glob
import grp
import hashlib
import json
import os
import pwd
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from typing import Any

PROPERTIES = (
    "Id,ActiveState,SubState,UnitFileState,NRestarts,MainPID,WatchdogUSec,TimeoutStopUSec,Restart,StartLimitIntervalUSec,"
    "FragmentPath,StatusText"
)


# Every setting, and what the post office's role is beyond one that reads and writes rows.
POSTGRESQL = """
SELECT name || '=' || setting FROM pg_settings
UNION ALL SELECT 'role restante=' || coalesce(nullif(concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END,
    CASE WHEN rolcreatedb THEN 'createdb' END, CASE WHEN rolcreaterole THEN 'createrole' END,
    CASE WHEN rolreplication THEN 'replication' END, CASE WHEN has_schema_privilege(oid, 'public', 'CREATE') THEN 'create in public' END,
    (SELECT 'owns ' || string_agg(relname, ' ') FROM pg_class WHERE relowner = pg_roles.oid)), ''), 'none')
FROM pg_roles WHERE rolname = 'restante'"""


def run(*argv: str) -> str:
    """Output of a command; what it complains about is part of what was found."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"({error})"
    return done.stdout if done.returncode == 0 else f"{done.stdout}({done.stderr.strip()})"


def units(names: list[str]) -> dict[str, dict[str, str]]:
    blocks = run("systemctl", "show", f"--property={PROPERTIES}", *names).strip().split("\n\n") if names else []
    return {
        name: dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name, block in zip(names, blocks)
    }


def exposure(names: list[str]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in names:
        match = re.search(r"exposure level for \S+: ([0-9.]+)", run("systemd-analyze", "security", "--no-pager", name))
        found[name] = float(match[1]) if match else None
    return found


def sysctls(keys: list[str], pid: int) -> dict[str, str]:
    """As the process that owns the sockets sees them: its network namespace may be its own."""
    inside = ("nsenter", f"--target={pid}", "--net") if pid else ()
    lines = run(*inside, "sysctl", "-e", *keys).splitlines() if keys else []
    return {key.strip(): " ".join(value.split()) for key, _, value in (line.partition("=") for line in lines)}


def files(paths: list[str]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for path in paths:
        try:
            status = os.lstat(path)
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            found[path] = {"missing": error.strerror}
            continue
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
        sha256 = hashlib.sha256(content).hexdigest()
        found[path] = {"sha256": sha256, "mode": f"{status.st_mode & 0o7777:04o}", "owner": owner, "group": group}
    return found


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def age(pid: str) -> float:
    """Seconds since the process started."""
    ticks = int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19])
    return float(read("/proc/uptime").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def addresses() -> list[str]:
    """Every address of every interface, without its prefix."""
    return [line.split()[3].partition("/")[0] for line in run("ip", "-oneline", "address", "show").splitlines()]


def workers() -> list[dict[str, Any]]:
    """nginx's workers: pid, whether it drains, its age and its limit on open files."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        pid = path.split("/")[2]
        title = read(path).replace("\0", " ").strip()
        if title.startswith("nginx: worker process"):
            limit = re.search(r"Max open files\s+(\d+)", read(f"/proc/{pid}/limits"))
            draining = "shutting down" in title
            found.append(
                {"pid": int(pid), "draining": draining, "age": age(pid), "nofile": int(limit[1]) if limit else 0}
            )
    return found


def postfix() -> dict[str, str]:
    """Parameters as Postfix itself reports them, services' own under service/type/name."""
    lines = (run("postconf") + run("postconf", "-P")).splitlines()
    return {name.strip(): value.strip() for name, found, value in (line.partition("=") for line in lines) if found}


def postgresql() -> dict[str, str]:
    """From the live engine, as its own superuser, on the host."""
    lines = run("runuser", "-u", "postgres", "--", "psql", "-XAtc", POSTGRESQL, "restante").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def office() -> dict[str, Any]:
    """What the post office says of itself and of its store, on the loopback."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:8025/readyz", timeout=5) as answer:
            return dict(json.load(answer))
    except (OSError, ValueError) as error:
        return {"status": str(error)}


def cluster() -> dict[str, Any]:
    """What this member knows of all."""
    said = run("/usr/local/lib/restante/cluster", "status")
    try:
        return dict(json.loads(said))
    except ValueError:
        return {"said": said}


def certificates(wanted: dict[str, int]) -> dict[str, str]:
    """Path -> what openssl says of the seconds that it must have left."""
    return {
        path: run("openssl", "x509", "-in", path, "-noout", "-checkend", str(left)) for path, left in wanted.items()
    }


def taken(ask: dict[str, Any]) -> dict[str, str]:
    """Who has the domain's certificate -> which: the disk, the file that the servers read, and each server that runs."""
    found = {path: of_pem(path) for path in ask["files"]}
    for name, shown in {"nginx": shown_by_nginx, "postfix": shown_by_postfix}.items():
        if ask[name]:
            found[name] = shown(ask["domain"])
    return found


def of_pem(path: str) -> str:
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    _, _, first = read(path).partition(begin)
    try:
        return fingerprint(ssl.PEM_cert_to_DER_cert(f"{begin}{first.partition(end)[0]}{end}"))
    except ValueError as error:
        return str(error)


def shown_by_nginx(domain: str) -> str:
    try:
        plain = socket.create_connection(("127.0.0.1", 443), timeout=5)
        with plain, unverified().wrap_socket(plain, server_hostname=domain) as secured:
            return fingerprint(secured.getpeercert(binary_form=True))
    except OSError as error:
        return str(error)


def shown_by_postfix(_: str) -> str:
    try:
        with smtplib.SMTP("127.0.0.1", 25, timeout=15) as client:
            client.starttls(context=unverified())
            secured: Any = client.sock
            return fingerprint(secured.getpeercert(binary_form=True))
    except OSError as error:
        return str(error)


def unverified() -> ssl.SSLContext:
    """Which it is, is what is asked here; whether a client believes it, is asked from outside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def fingerprint(certificate: bytes | None) -> str:
    return hashlib.sha256(certificate or b"").hexdigest()[:16]


def offices(wanted: dict[str, Any]) -> dict[str, str]:
    """Address -> the TLS that an edge has with the post office there, or why it has none."""
    found: dict[str, str] = {}
    for place in wanted["at"]:
        host, _, port = place.rpartition(":")
        try:
            context = ssl.create_default_context(cafile=wanted["root"])
            plain = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
            with plain, context.wrap_socket(plain, server_hostname=wanted["name"]) as secured:
                found[place] = str(secured.version())
        except OSError as error:
            found[place] = str(error)
    return found


def backups(directory: str | None) -> list[float]:
    """When each was made; it is one once it is described."""
    found = glob.glob(f"{glob.escape(directory)}/*.json") if directory else []
    return sorted(
        float(json.loads(read(path))["made_at"]) for path in found if os.path.exists(path.removesuffix(".json"))
    )


def trial(directory: str | None) -> dict[str, Any]:
    """What the last trial of a backup found; nothing before the first."""
    said = read(f"{directory}/.trial.json") if directory else ""
    return dict(json.loads(said or "{}"))


def main(ask: dict[str, Any]) -> dict[str, Any]:
    shown = units(ask["units"])
    pid = int(shown.get("nginx.service", {}).get("MainPID", "0"))
    return {
        "units": shown,
        "exposure": exposure(ask["services"]),
        "failed": run("systemctl", "list-units", "--failed", "--plain", "--no-legend").split("\n"),
        "sysctls": sysctls(ask["sysctls"], pid),
        "files": files(ask["files"]),
        "running": {name: run(*argv).strip() for name, argv in ask["running"].items()},
        "listening": run("ss", "-H", "-l", "-t", "-n"),
        "firewall": run("nft", "list", "table", "inet", "restante") if ask["firewall"] else "",
        "conntrack": [read(f"/proc/sys/net/netfilter/nf_conntrack_{name}").strip() for name in ("count", "max")],
        "nginx": run("nginx", "-T") if ask["nginx"] else "",
        "addresses": addresses() if ask["keepalived"] else [],
        "workers": workers() if ask["nginx"] else [],
        "postfix": postfix() if ask["postfix"] else {},
        "postgresql": postgresql() if ask["postgresql"] else {},
        "certificates": certificates(ask["certificates"]),
        "taken": taken(ask["taken"]) if ask["taken"] else {},
        "cluster": cluster() if ask["cluster"] else {},
        "backups": backups(ask["backup"]),
        "trial": trial(ask["backup"]),
        "now": time.time(),
        "office": office() if ask["post"] else {},
        "offices": offices(ask["offices"]) if ask["offices"] else {},
    }


print(json.dumps(main(json.loads(sys.argv[1]))))
