"""From plan to bytes: what must never be in them, and what must."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import NOW, plan

from restante.errors import InputError
from restante.plan.facts import Facts
from restante.render import diff
from restante.render.bundle import Bundle, render_bundle
from restante.render.environment import systemd_quote
from restante.render.write import changed_by_hand, read, write
from restante.spec.nginx_syntax import parse

SERVICE = {"host": "front", "user": "relay", "exec": "/usr/bin/relay", "listens": [8080]}


def bundle(changes: dict[str, Any] | None = None) -> Bundle:
    return render_bundle(plan(changes))


def text(found: Bundle, path: str, host: str = "front") -> str:
    return found[f"hosts/{host}{path}"].decode()


def test_secrets_are_references_in_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_TOKEN", "swordfish")
    found = bundle({"services": {"relay": {**SERVICE, "credentials": {"token": "env:RELAY_TOKEN"}}}})
    assert not [path for path, content in found.items() if b"swordfish" in content]
    unit = text(found, "/etc/systemd/system/relay.service")
    assert "LoadCredential=token:/etc/restante/credentials/relay/token" in unit
    assert (
        json.loads(found["hosts/front/manifest.json"])["secrets"]["/etc/restante/credentials/relay/token"]["reference"]
        == "env:RELAY_TOKEN"
    )


@given(st.lists(st.text(st.characters(exclude_categories=["C"], exclude_characters="\n")), min_size=1, max_size=4))
def test_words_of_a_command_reach_systemd_as_they_are(words: list[str]) -> None:
    """No specifier, variable, quote or separator of one word becomes anything else."""
    for word in words:
        quoted = systemd_quote(word)
        assert "%" not in quoted.replace("%%", "")
        assert "$" not in quoted.replace("$$", "")
        assert "\n" not in quoted
        if quoted.startswith('"'):
            assert not re.search(r'(?<!\\)(\\\\)*"', quoted[1:-1])


@pytest.mark.parametrize(
    ("system", "expected"), [("debian-12", "listen 443 ssl http2 default_server"), ("debian-13", "http2 on;")]
)
def test_http2_is_written_as_the_hosts_nginx_knows_it(system: str, expected: str) -> None:
    hosts = {"front": {"ipv4": "192.0.2.21", "os": system, "tiers": ["edge", "app"]}}
    assert expected in text(bundle({"hosts": hosts}), "/etc/nginx/restante/site.conf")


@pytest.mark.parametrize(("system", "steps"), [("debian-12", False), ("debian-13", True)])
def test_restart_delays_grow_on_every_systemd(system: str, steps: bool) -> None:
    hosts = {"front": {"ipv4": "192.0.2.21", "os": system, "tiers": ["edge", "app"]}}
    found = bundle({"hosts": hosts, "services": {"relay": SERVICE}})
    unit = text(found, "/etc/systemd/system/relay.service")
    assert ("RestartSteps=" in unit) == steps
    assert ("restart-delay %n" in unit) != steps
    assert ("hosts/front/usr/local/lib/restante/restart-delay" in found) != steps


def test_no_unit_gives_up_in_silence() -> None:
    found = bundle({"services": {"relay": SERVICE}})
    for path in ("/etc/systemd/system/relay.service", "/etc/systemd/system/nginx.service.d/restante.conf"):
        assert "StartLimitIntervalSec=0" in text(found, path)
        assert "ExecStopPost=+-/usr/local/lib/restante/alert unit %n" in text(found, path)


def test_every_nginx_file_is_whole() -> None:
    for path, content in bundle().items():
        if "/etc/nginx/" in path:
            parse(content.decode())


def test_a_changed_sysctl_leaves_the_generation_of_nginx_alone() -> None:
    own = {"overrides": {"sysctl": {"net.ipv4.tcp_fin_timeout": {"value": 30, "because": "sockets must go sooner"}}}}
    before, after = bundle(), bundle(own)
    assert text(before, "/etc/nginx/restante/generation") == text(after, "/etc/nginx/restante/generation")
    (effect,) = diff.effects(before, after)
    assert (effect.component, effect.action, effect.cuts) == ("sysctl", "none", "no socket")


def test_the_diff_says_what_a_changed_route_means() -> None:
    routes = [{"path": "/chat", "kind": "websocket", "upstreams": ["front:8080"]}]
    (effect,) = diff.effects(bundle(), bundle({"edge": {"routes": routes}}))
    assert (effect.component, effect.action) == ("nginx", "reload")
    assert "30 s" in diff.sentence(effect)


def test_a_service_that_left_is_stopped() -> None:
    (effect,) = diff.effects(bundle({"services": {"relay": SERVICE}}), bundle())
    assert diff.sentence(effect) == "front: service-relay is gone: stop relay.service"


def test_a_bundle_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    write(bundle(), tmp_path / "out")
    assert changed_by_hand(tmp_path / "out") == []
    (tmp_path / "out/hosts/front/etc/nginx/nginx.conf").write_text("worker_processes 9;\n")
    (tmp_path / "out/hosts/front/etc/extra").write_text("")
    assert changed_by_hand(tmp_path / "out") == ["hosts/front/etc/extra", "hosts/front/etc/nginx/nginx.conf"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something else"):
        write(bundle(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_full_disk_leaves_the_old_bundle_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, first = tmp_path / "out", bundle()
    write(first, out)
    writes = iter(range(5))

    def full(path: str, *_: object, **__: object) -> Any:
        if next(writes, None) is None:
            raise OSError(28, "No space left on device", path)
        return Path(path).open("wb", buffering=0)

    monkeypatch.setattr("restante.render.write.open", full, raising=False)
    with pytest.raises(InputError, match="No space left on device"):
        write(bundle({"agents": 9000}), out)
    monkeypatch.undo()
    assert read(out) == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_carried_file_is_public_bytes() -> None:
    service = {**SERVICE, "files": {"/opt/relay/app.py": "file:app.py"}}
    found = render_bundle(plan({"services": {"relay": service}}, Facts(NOW, files={"file:app.py": b"print()\n"})))
    assert found["hosts/front/opt/relay/app.py"] == b"print()\n"
