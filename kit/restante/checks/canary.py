"""An inbox and a token for one run of the checks, made over a post host's own admin socket, and what a mail to it must do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bundle import Expected

NAME = "restante-canary"
# argv: method, path, body. The answer is the only place where the token is seen; ssh brings it back, and no log has it.
_ADMIN = """
import http.client, socket, sys
class Admin(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect("/run/restante/admin.sock")
method, path, body = sys.argv[1:]
admin = Admin("localhost")
admin.request(method, path, body or None, {"Content-Type": "application/json"})
print(admin.getresponse().read().decode())
"""


@dataclass(frozen=True)
class Canary:
    """`token` may receive from `inbox`, and nothing else."""

    inbox: str
    token: str


def ask(host: Any, method: str, path: str, body: object = None) -> dict[str, Any]:
    """One request to the post office of a testinfra host."""
    text = json.dumps(body) if body is not None else ""
    done = host.run(shlex.join(["python3", "-c", _ADMIN, method, path, text]))
    if done.rc:
        raise Expected("a post office that answers on its admin socket", done.stderr.strip().splitlines()[-1:])
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise Expected(f"an answer to {method} {path}", answer["error"]["message"])
    return answer


@contextmanager
def prepared(host: Any, domain: str) -> Iterator[Canary]:
    """The inbox stays, its mail acknowledged; the token is revoked."""
    inbox = f"{NAME}@{domain}"
    ask(host, "POST", "/v1/inboxes", {"username": NAME, "domain": domain, "client_id": NAME})
    made = ask(host, "POST", "/v1/tokens", {"name": "restante verify", "scopes": {inbox: ["receive"]}})
    try:
        yield Canary(inbox, made["token"])
    finally:
        ask(host, "DELETE", f"/v1/tokens/{made['id']}")
