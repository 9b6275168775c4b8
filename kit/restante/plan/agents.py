"""Programs that handle an inbox: what the SDK in them needs to find, and what systemd needs to know."""

from __future__ import annotations

from restante.spec.model import Service, Spec

CREDENTIAL = "restante-token"
SYSTEM_PYTHON = "/usr/bin/python3"
# The SDK tells systemd twice in this time; a loop that turns no more is restarted after it.
WATCHDOG_S = 60
STOP_S = 30  # for giving back what it holds


def wired(spec: Spec, host: str, name: str, service: Service) -> Service:
    """The service as it runs on `host`; unchanged when it is no agent. What the spec says itself stands."""
    if service.agent is None:
        return service
    environment = {
        "RESTANTE_URL": service.agent.url or f"https://{spec.domain}",
        "RESTANTE_INBOX": service.agent.inbox,
        "RESTANTE_WORKER": f"{host}-{name}",
    }
    return service.model_copy(
        update={
            "environment": {**environment, **service.environment},
            "credentials": {CREDENTIAL: service.agent.token, **service.credentials},
            "readiness": "notify",
            "watchdog": service.watchdog or WATCHDOG_S,
            "stop_timeout": max(service.stop_timeout, STOP_S),
        }
    )


def carries_sdk(service: Service) -> bool:
    """The host's own Python gets the SDK that this kit carries; a virtual environment brings its own."""
    return service.agent is not None and service.exec[0] == SYSTEM_PYTHON
