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
from restante.render.environment import systemd_argument
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
        quoted = systemd_argument(word)
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
    sentences = [diff.sentence(effect) for effect in diff.effects(bundle({"services": {"relay": SERVICE}}), bundle())]
    assert "front: service-relay is gone: stop relay.service" in sentences


def test_the_diff_sees_what_no_file_shows() -> None:
    """Another reference, another package, another way in."""
    ssh = {"front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge", "app"], "ssh": {"port": 2222}}}
    credential = [
        {"services": {"relay": {**SERVICE, "credentials": {"key": f"env:{name}"}}}} for name in ("HOME", "PATH")
    ]
    package = {"services": {"relay": {**SERVICE, "packages": ["jq"]}}}
    for old, new in [({}, {"hosts": ssh}), tuple(credential), ({"services": {"relay": SERVICE}}, package)]:
        assert diff.effects(bundle(old), bundle(new))


def test_a_host_that_left_is_named_and_nothing_is_promised() -> None:
    more = {"front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge", "app"]}}
    more["back"] = {"ipv4": "192.0.2.22", "os": "debian-12", "tiers": ["app"]}
    assert "back: left the spec" in " ".join(map(diff.sentence, diff.effects(bundle({"hosts": more}), bundle())))


def test_routes_that_look_alike_get_upstreams_of_their_own() -> None:
    routes = [{"path": path, "kind": "http", "upstreams": ["front:8080"]} for path in ("/", "/root", "/a-b", "/a_b")]
    upstreams = re.findall(
        r"^upstream (\S+)", text(bundle({"edge": {"routes": routes}}), "/etc/nginx/restante/upstreams.conf"), re.M
    )
    assert len(set(upstreams)) == 4


def test_a_dollar_is_a_dollar_in_the_environment_and_in_a_command() -> None:
    service = {**SERVICE, "exec": ["/usr/bin/relay", "$HOME"], "environment": {"PRICE": "5$"}}
    unit = text(bundle({"services": {"relay": service}}), "/etc/systemd/system/relay.service")
    assert "ExecStart=/usr/bin/relay $$HOME\n" in unit
    assert "Environment=PRICE=5$\n" in unit


def test_a_carried_program_can_be_run_and_may_be_binary() -> None:
    service = {**SERVICE, "exec": "/opt/relay/relay", "files": {"/opt/relay/relay": "file:relay"}}
    old, new = (
        render_bundle(plan({"services": {"relay": service}}, Facts(NOW, files={"file:relay": content})))
        for content in (b"\x7fELF\x00\xff1", b"\x7fELF\x00\xff2")
    )
    assert json.loads(new["hosts/front/manifest.json"])["files"]["/opt/relay/relay"]["mode"] == "0755"
    assert "binary file hosts/front/opt/relay/relay differs\n" in list(diff.unified(old, new))


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


@pytest.mark.parametrize("manifest", ['{"name": "a web app"}', "[]", "not json"])
def test_a_manifest_of_something_else_is_no_bundle(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds something else"):
        write(bundle(), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_bundle_that_somebody_added_to_is_left_alone(tmp_path: Path) -> None:
    write(bundle(), tmp_path / "out")
    (tmp_path / "out/.git").mkdir()
    with pytest.raises(InputError, match=r"\.git"):
        write(bundle(), tmp_path / "out")


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    write(bundle(), tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real/manifest.json").is_file()


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


@pytest.mark.parametrize(("enabled", "there"), [(True, True), (False, False)])
def test_a_store_host_lets_backups_in_by_the_kernels_word_and_only_when_they_are_made(
    enabled: bool, there: bool
) -> None:
    hosts = {
        "front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge", "post"]},
        "store": {"ipv4": "192.0.2.22", "os": "debian-12", "tiers": ["store"]},
    }
    store = {"engine": "postgresql", "lab": True, "backup": {"enabled": enabled}}
    found = bundle({"hosts": hosts, "edge": None, "inboxes": {"domains": ["example.org"]}, "store": store})
    hba = text(found, "/etc/postgresql/15/main/pg_hba.conf", "store")
    assert ("local replication restante-backup peer" in hba) == there
    assert (b"restante-backup" in b"".join(found[path] for path in found if path.startswith("hosts/store/"))) == there
    assert not [path for path in found if path.startswith("hosts/front/") and "backup" in path]


@pytest.mark.parametrize(
    ("smtp", "services", "settings"),
    [
        ({}, {"smtp": ("inet", "smtpd")}, {}),
        (
            {"postscreen": True},
            {"smtp": ("inet", "postscreen"), "smtpd": ("pass", "smtpd"), "dnsblog": ("unix", "dnsblog"), "tlsproxy": ("unix", "tlsproxy")},
            {"greet_action": "enforce", "blacklist_action": "enforce", "access_list": "permit_mynetworks"},
        ),
    ],
)  # fmt: skip
def test_postscreen_takes_smtpds_place_and_hands_on_to_it(
    smtp: dict[str, bool], services: dict[str, tuple[str, str]], settings: dict[str, str]
) -> None:
    hosts = {"front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge", "post"]}}
    found = bundle({"hosts": hosts, "edge": None, "inboxes": {"domains": ["example.org"]}, "smtp": smtp})
    rows = [line.split() for line in text(found, "/etc/postfix/master.cf").splitlines() if line[0] not in "# "]
    front = {row[0]: (row[1], row[7]) for row in rows if row[0] in {"smtp", "smtpd", "dnsblog", "tlsproxy"}}
    assert front == services
    assert dict(re.findall(r"(?m)^postscreen_(\w+) = (.+)$", text(found, "/etc/postfix/main.cf"))) == settings
