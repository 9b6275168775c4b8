"""What a deploy makes of hosts, limits and ansible's words."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from restante import resources
from restante.deploy import playbook
from restante.deploy.playbook import HostOutcome, Outcome, deploy
from restante.errors import FoundError, InputError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    for name in ("edge-1", "edge-2"):
        (tmp_path / "hosts" / name).mkdir(parents=True)
        (tmp_path / "hosts" / name / "manifest.json").write_text("{}")
    (tmp_path / "plan.json").write_text('{"authority": {}}')
    return tmp_path


def fake_ansible(monkeypatch: pytest.MonkeyPatch, folder: Path, summary: dict[str, Any] | None) -> Path:
    """An ansible-playbook that writes what it was called with to `folder`, and this summary."""
    text = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
Path({str(folder)!r}, "called.json").write_text(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ)}}))
if {summary!r} is not None:
    Path(os.environ["RESTANTE_SUMMARY"]).write_text(json.dumps({summary!r}))
sys.exit(3)
"""
    program = folder / "bin" / "ansible-playbook"
    program.parent.mkdir()
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(playbook, "_program", lambda: program)
    return folder / "called.json"


def test_the_call_and_what_came_of_it(monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path) -> None:
    called = fake_ansible(monkeypatch, tmp_path, {"edge-1": {"state": "changed", "release": "r1"}})
    outcome = deploy(
        bundle, check=True, limit="edge-1", rollback=True, secrets=tmp_path, prefix=["env"],
        ssh_config=Path("/lab/ssh_config"), environment={"TOKEN": "x"},
    )  # fmt: skip
    assert outcome.hosts == (HostOutcome("edge-1", "changed", release="r1"),)
    found = json.loads(called.read_text())
    argv, env = found["argv"], found["env"]
    assert argv[:3] == ["--inventory", f"{bundle}/inventory.yml", f"{bundle}/site.yml"]
    assert argv[3:8] == ["--check", "--diff", "--limit", "edge-1", "--extra-vars"]
    assert json.loads(argv[8]) == {
        "restante_secrets": str(tmp_path),
        "restante_authority": f"{tmp_path}/authority",
        "restante_rollback": True,
        "ansible_ssh_common_args": "-F /lab/ssh_config",
    }
    assert env["ANSIBLE_SSH_ARGS"] == ""
    assert (env["TOKEN"], env["ANSIBLE_FORKS"], env["ANSIBLE_STDOUT_CALLBACK"]) == ("x", "1", "restante")


def test_a_dry_run_makes_and_renews_nothing_here(monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path) -> None:
    plan = json.loads((bundle / "plan.json").read_text())
    names = {"edge-1": {"names": ["edge-1.mail.example.org", "192.0.2.11"], "users": []}}
    (bundle / "plan.json").write_text(json.dumps({**plan, "authority": names}))
    called = fake_ansible(monkeypatch, tmp_path, {"edge-1": {"state": "changed", "release": "r1"}})
    deploy(bundle, check=True, secrets=tmp_path)
    assert not (tmp_path / "authority").exists()
    argv = json.loads(called.read_text())["argv"]
    assert json.loads(argv[-1])["restante_authority"] != f"{tmp_path}/authority"
    deploy(bundle, secrets=tmp_path)
    assert sorted(path.name for path in (tmp_path / "authority").iterdir()) == [
        "edge-1.key", "edge-1.pem", "root.key", "root.pem",
    ]  # fmt: skip


def test_no_host_reached_is_a_sentence(monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path) -> None:
    fake_ansible(monkeypatch, tmp_path, None)
    with pytest.raises(FoundError, match="ended with 3 and reached no host"):
        deploy(bundle, secrets=tmp_path)


def test_a_limit_must_name_hosts_of_the_bundle(bundle: Path) -> None:
    with pytest.raises(InputError, match="--limit names edge-9, but the bundle has only edge-1, edge-2"):
        deploy(bundle, limit="edge-1,edge-9", secrets=bundle)


def test_a_folder_without_hosts_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no host"):
        deploy(tmp_path, secrets=tmp_path)


def test_a_bad_end_names_host_phase_reason_and_who_was_spared() -> None:
    bad = HostOutcome("edge-1", "refused", phase="apply", component="nginx", message="nginx: no")
    outcome = Outcome((bad, HostOutcome("edge-2", "untouched"), HostOutcome("app-1", "unchanged")), 1.0)
    assert not outcome.good
    with pytest.raises(FoundError) as raised:
        outcome.demand()
    assert str(raised.value) == "edge-1: refused in phase apply: nginx: no\nNot touched: edge-2"


def test_a_good_end_says_nothing() -> None:
    outcome = Outcome((HostOutcome("a", "changed"), HostOutcome("b", "unchanged"), HostOutcome("c", "would change")), 1)
    outcome.demand()
    assert (outcome.good, outcome.changed) == (True, 2)


def plugin(kind: str, name: str) -> ModuleType:
    """A plugin of the role, as ansible loads it: by path."""
    spec = importlib.util.spec_from_file_location(f"role_{kind}", resources.roles() / "restante" / kind / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("Failed to connect to the host via ssh: Host key verification failed.", "its host key is not the one"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "its host key is not the one"),
        ("Task failed: Premature end of stream waiting for become success.\nsudo: a password is required", "NOPASSWD"),
        ("Missing sudo password", "NOPASSWD"),
        ("/bin/sh: 1: sudo: not found", "sudo is not installed there"),
        ("plain is not in the sudoers file.", "may not use sudo"),
        ("/bin/sh: 1: /usr/bin/python3: not found", "apt-get install python3"),
        ("The module interpreter '/usr/bin/python3' was not found.", "apt-get install python3"),
        ("root@192.0.2.1: Permission denied (publickey).", "ssh refused the login"),
        ("Task failed: Module failed: nginx: no", "nginx: no"),
        ("ssh: connect to host 192.0.2.1 port 22: Connection refused", "Connection refused"),
    ],
)
def test_what_ssh_sudo_and_ansible_say_becomes_a_sentence(said: str, means: str) -> None:
    found = plugin("callback_plugins", "restante").sentence(said)
    assert means in found
    assert not found.startswith("Task failed")


def test_what_is_to_be_done_a_line_each() -> None:
    callback = plugin("callback_plugins", "restante")
    changes = {
        "packages": ["nginx"], "users": ["relay"], "left": ["old.service"], "prune": ["/etc/x"],
        "touched": {"nginx": "/etc/nginx/nginx.conf"}, "idle": {"relay": "relay.service is inactive, enabled"},
    }  # fmt: skip
    assert callback.todo({"changes": changes, "needed": True}) == [
        "install nginx",
        "create user relay",
        "stop and disable old.service",
        "remove /etc/x",
        "nginx: /etc/nginx/nginx.conf",
        "relay: relay.service is inactive, enabled",
    ]
    nothing = {key: type(value)() for key, value in changes.items()}
    assert callback.todo({"changes": nothing, "needed": False}) == []
    assert callback.todo({"changes": nothing, "needed": True}) == ["record the release"]
    assert callback.short("nginx: /a, /b, /c, /d") == "nginx: /a, /b and 2 more"


def test_the_transfer_is_the_same_for_the_same_tree(tmp_path: Path) -> None:
    action = plugin("action_plugins", "restante_release")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").write_text("a")
    manifest = {"files": {"/etc/a": {}}}
    first = action.pack(tmp_path, manifest, {"/etc/key": b"k"})
    (tmp_path / "etc/a").touch()
    assert action.pack(tmp_path, manifest, {"/etc/key": b"k"}) == first


@pytest.mark.parametrize("reference", ["file:missing.pem", "env:RESTANTE_TEST_MISSING", "plain-text"])
def test_a_missing_secret_names_host_path_and_reference(tmp_path: Path, reference: str) -> None:
    from ansible.errors import AnsibleError
    from ansible.parsing.dataloader import DataLoader

    secrets = plugin("action_plugins", "restante_release").Secrets("edge-1", str(tmp_path), DataLoader())
    with pytest.raises(AnsibleError, match=f"/etc/key on edge-1 needs the secret {reference}"):
        secrets.resolve({"secrets": {"/etc/key": {"reference": reference}}})


def test_secrets_come_from_files_variables_and_vaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.parsing.vault import VaultLib, VaultSecret

    key = [("default", VaultSecret(b"password"))]
    (tmp_path / "plain").write_bytes(b"one")
    (tmp_path / "vaulted").write_bytes(VaultLib(key).encrypt(b"two"))
    monkeypatch.setenv("RESTANTE_TEST_TOKEN", "three")
    loader = DataLoader()
    loader.set_vault_secrets(key)
    references = {"/a": "file:plain", "/b": "file:vaulted", "/c": "env:RESTANTE_TEST_TOKEN"}
    secrets = plugin("action_plugins", "restante_release").Secrets("edge-1", str(tmp_path), loader)
    found = secrets.resolve({"secrets": {path: {"reference": value} for path, value in references.items()}})
    assert found == {"/a": b"one", "/b": b"two", "/c": b"three"}


def test_hosts_are_told_by_name_whichever_answered_first(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    fake_ansible(monkeypatch, tmp_path, {"edge-2": {"state": "untouched"}, "edge-1": {"state": "failed"}})
    assert [host.name for host in deploy(bundle, secrets=tmp_path).hosts] == ["edge-1", "edge-2"]
