"""What a person reads while a bundle is deployed: one short line per host and phase, and sentences for what went wrong.

`restante deploy` turns it on; plain ansible-playbook keeps its own output. With RESTANTE_SUMMARY set, the end of a
run writes one entry per host to that file, as JSON.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from time import monotonic
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: restante
type: stdout
short_description: Short lines for people, and a summary for scripts
description: One line per host and phase; failures as sentences.
options:
  result_format:
    description: Not used; asked for by the base class.
    type: str
    default: json
  pretty_results:
    description: Not used; asked for by the base class.
    type: bool
    default: false
"""

# What ssh, sudo and ansible say when a host cannot be worked on, and what that means for the operator.
SENTENCES = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "its host key is not the one that is known for it. If the host was installed anew, put its new key into the "
        "spec (ssh.host_key) and deploy again; if it was not, another machine answers at its address: find out first",
    ),
    (
        r"Missing sudo password|a password is required|Incorrect sudo password",
        "sudo asks for a password there. Allow the ssh user sudo without one (NOPASSWD), or log in as root",
    ),
    (
        r"not in the sudoers file|may not run sudo|is not allowed to execute",
        "the ssh user may not use sudo there. Add it to sudoers, or log in as root",
    ),
    (r"sudo: (command )?not found|sudo: No such file", "sudo is not installed there. Install it, or log in as root"),
    (
        r"python3?: (not found|No such file)|interpreter .* was not found",
        "python3 is missing there, and the deploy needs it: apt-get install python3",
    ),
    (r"Permission denied \(", "ssh refused the login. Check the spec's ssh user and that your key is authorized there"),
)


def sentence(message: str) -> str:
    """The operator's sentence for a message of ssh, sudo or ansible; one that nobody foresaw is shown as it is."""
    known = (text for pattern, text in SENTENCES if re.search(pattern, message, re.IGNORECASE))
    return next(known, re.sub(r"^Task failed: (Module failed: )?", "", message).strip())


def todo(result: dict[str, Any]) -> list[str]:
    """What separates the host from its release, a line for each thing."""
    changes: dict[str, Any] = result["changes"]
    lines = [f"install {name}" for name in changes["packages"]] + [f"create user {name}" for name in changes["users"]]
    lines += [f"bring {path}" for path in changes.get("trees", [])]
    lines += [f"stop and disable {name}" for name in changes["left"]] + [f"remove {path}" for path in changes["prune"]]
    lines += [f"{name}: {why}" for name, why in {**changes["touched"], **changes["idle"]}.items()]
    return lines or (["record the release"] if result["needed"] else [])


def short(line: str) -> str:
    """The first two of many paths; the diff of a dry run, and the summary, have them all."""
    paths = line.split(", ")
    return f"{', '.join(paths[:2])} and {len(paths) - 2} more" if len(paths) > 3 else line


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "restante"

    def __init__(self) -> None:
        super().__init__()
        self.hosts: dict[str, dict[str, Any]] = {}
        self.started: dict[str, float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.started[host.get_name()] = monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        host, found = result.host.get_name(), result.result
        if "changes" not in found:
            self._line(host, "install", "done")
        elif result.task.args.get("phase") == "compare":
            self._compared(host, result)
        else:
            self.hosts[host] |= {"state": "changed"}
            self._line(host, "apply", f"release {found['release']} serves")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        host, found = result.host.get_name(), result.result
        state = "refused" if found.get("refused") else "failed"
        message = sentence("\n".join(filter(None, [str(found.get("msg", "")), str(found.get("module_stderr", ""))])))
        self._ended(host, state, message, result, component=found.get("component"))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        message = sentence(str(result.result.get("msg", "")))
        self._ended(result.host.get_name(), "unreachable", message, result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        untouched = [host for host, entry in self.hosts.items() if entry["state"] == "to do"]
        for host in untouched:
            self.hosts[host]["state"] = "untouched"
        if untouched:
            self._display.display(f"Not touched, because the run stopped before: {', '.join(untouched)}")
        states = [entry["state"] for entry in self.hosts.values()]
        counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
        self._display.display(f"{len(states)} host{'' if len(states) == 1 else 's'}: {counted}")
        if target := os.environ.get("RESTANTE_SUMMARY"):
            Path(target).write_text(json.dumps(self.hosts))

    def _compared(self, host: str, result: Any) -> None:
        found = result.result
        check = bool(result.task.check_mode)
        state = ("would change" if check else "to do") if found["needed"] else "unchanged"
        lines, tests = todo(found), found["tests"]
        self.hosts[host] = {"state": state, "release": found["release"], "todo": lines, "tests": tests}
        self._line(host, "compare", short(lines[0]) if lines else "nothing to do")
        for line in lines[1:]:
            self._more(short(line))
        for test in tests:
            said = test["said"].replace("\n", "\n" + " " * 12)
            self._more(f"test of {test['component']} {test['outcome']}: {test['command']}{said and ': ' + said}")
        if found.get("diff") and check:
            self._display.display(self._get_diff(found["diff"]).rstrip("\n"))

    def _ended(self, host: str, state: str, message: str, result: Any, **more: Any) -> None:
        phase = result.task.args.get("phase", "install")
        self.hosts[host] = {**self.hosts.get(host, {}), "state": state, "phase": phase, "message": message, **more}
        self._line(host, phase, f"{state}: {message}")

    def _line(self, host: str, phase: str, text: str) -> None:
        seconds = monotonic() - self.started.get(host, monotonic())
        self._display.display(f"{phase:8} {host:16} {text}  ({seconds:.1f} s)")

    def _more(self, text: str) -> None:
        self._display.display(f"{'':25} {text}")
