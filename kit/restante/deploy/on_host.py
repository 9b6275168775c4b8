"""Runs on a host, read-only, standard library only: one JSON object with what the host is at this moment."""

import json
import os
import re
import subprocess
import urllib.request
from typing import Any

STATE = "/var/lib/restante"


def run(*argv: str, limit_s: int = 10) -> str:
    """Output of a command; nothing when it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def metric(text: str, name: str) -> int:
    """The highest of its samples; 0 where it has none."""
    found = re.findall(rf"^{name}(?:{{.*}})? ([0-9.e+]+)$", text, re.MULTILINE)
    return max((int(float(value)) for value in found), default=0)


def post() -> dict[str, Any]:
    shown = dict(
        line.partition("=")[::2]
        for line in run("systemctl", "show", "-p", "ActiveState,StatusText", "restante-server.service").splitlines()
    )
    ready = json.loads(fetch("http://127.0.0.1:8025/readyz") or '{"status": "not ready"}')
    numbers = fetch("http://127.0.0.1:8025/metrics")
    return {
        "ready": ready["status"] == "ready",
        "says": shown.get("StatusText", ""),
        "draining": shown.get("ActiveState") == "deactivating",
        "sockets": metric(numbers, "restante_sockets"),
        "queue": len(run("postqueue", "-j").splitlines()),
        "oldest_unacknowledged_s": metric(numbers, "restante_oldest_unacknowledged_seconds"),
    }


def edge() -> dict[str, Any]:
    counted = re.search(r"Active connections: (\d+)", fetch("http://127.0.0.1:8090/restante/status"))
    return {
        "serves": counted is not None,
        "connections": int(counted[1]) if counted else 0,
        "draining_workers": len(run("pgrep", "-f", "nginx: worker process is shutting down").splitlines()),
    }


def store() -> dict[str, Any]:
    return {"serves": bool(run("runuser", "-u", "postgres", "--", "psql", "-XAtc", "SELECT 1"))}


def member() -> dict[str, Any]:
    return dict(json.loads(run("/usr/local/lib/restante/cluster", "status", limit_s=20) or "{}"))


def main() -> dict[str, Any]:
    try:
        with open(f"{STATE}/current/manifest.json") as file:
            release = json.load(file)
    except FileNotFoundError:
        return {"release": None}
    components = {each["name"]: each for each in release["components"]}
    old = [
        name for name, each in components.items()
        if each.get("running") and run(*each["running"]) != each["generation"]
    ]  # fmt: skip
    inactive = [
        unit for each in components.values() for unit in each["units"] if not run("systemctl", "is-active", unit)
    ]
    asked = {"post": post, "nginx": edge, "postgresql": store, "cluster": member}
    return {
        "release": release["release"],
        "unfinished": os.path.lexists(f"{STATE}/pending"),
        "old": old,
        "inactive": inactive,
        **{name: work() for name, work in asked.items() if name in components},
    }


print(json.dumps(main()))
