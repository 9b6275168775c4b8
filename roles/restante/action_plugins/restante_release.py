"""Controller's side of restante_release: one deterministic tar of the host's tree and its secrets, one transfer.

Without --check the compare phase sends no file, only the manifest and the sha256 of each secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

FRESH = "-o ControlPath=none -o ControlMaster=no -o ConnectTimeout=10"


class ActionModule(ActionBase):
    TRANSFERS_FILES = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        _, arguments = self.validate_argument_spec(
            {
                "phase": {"type": "str", "choices": ["compare", "apply"], "required": True},
                "bundle": {"type": "path", "required": True},
                "secrets": {"type": "path"},
                "authority": {"type": "path"},
                "rollback": {"type": "bool", "default": False},
                "wheelhouse": {"type": "str"},
                "missing": {"type": "list", "elements": "str", "default": []},
                "serving": {"type": "str"},
            }
        )
        try:
            result |= self._release(arguments)
        finally:
            # A connection that a firewall has cut must not hide what is to be told.
            with contextlib.suppress(AnsibleError):
                self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _release(self, arguments: dict[str, Any]) -> dict[str, Any]:
        phase = arguments["phase"]
        sent: dict[str, Any] = {"phase": phase, "rollback": arguments["rollback"], "serving": arguments["serving"]}
        if not arguments["rollback"]:
            folder = Path(arguments["bundle"], "hosts", self._host)
            manifest = self._manifest(folder)
            secrets = Secrets(self._host, arguments["secrets"], self._loader, arguments["authority"]).resolve(manifest)
            digests = {path: hashlib.sha256(data).hexdigest() for path, data in secrets.items()}
            sent |= {"manifest": manifest, "secrets": digests}
            if phase == "apply" or self._task.check_mode:
                sent["archive"] = self._send(pack(folder, manifest, secrets))
            if phase == "apply" and not self._task.check_mode:
                sent["trees"] = {tree: self._bring(tree, manifest, arguments) for tree in arguments["missing"]}
        result = self._module(sent)
        if result.get("confirm") and not result.get("failed"):
            return self._confirmed(result)
        return result

    @property
    def _host(self) -> str:
        return str(self._vars["inventory_hostname"])

    def _manifest(self, folder: Path) -> dict[str, Any]:
        try:
            manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        except FileNotFoundError:
            raise AnsibleActionFail(
                f"the bundle holds nothing for {self._host} ({folder} is missing): render it again"
            ) from None
        return manifest

    def _bring(self, tree: str, manifest: dict[str, Any], arguments: dict[str, Any]) -> dict[str, str]:
        """A tree that the host lacks, from the wheelhouse that `restante deploy` filled."""
        name = f"{Path(tree).name}-{manifest['trees'][tree]['python']}-{manifest['arch']}.tar.gz"
        local = Path(arguments["wheelhouse"] or "", name)
        if not arguments["wheelhouse"] or not local.exists():
            raise AnsibleActionFail(f"{self._host} lacks {tree}, and {local} is not there: use 'restante deploy'")
        target = self._place(name)
        self._transfer_file(str(local), target)
        return {"archive": target, "sha256": hashlib.sha256(local.read_bytes()).hexdigest()}

    def _place(self, name: str) -> str:
        """In the connection's temporary folder, which only the ssh user and root can read."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        target: str = self._connection._shell.join_path(self._connection._shell.tmpdir, name)
        return target

    def _send(self, data: bytes) -> str:
        target = self._place("release.tar")
        local = self._loader._create_content_tempfile(data)
        try:
            self._transfer_file(local, target)
        finally:
            Path(local).unlink()
        return target

    def _module(self, arguments: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module("restante_release", arguments, task_vars=self._vars)
        result.pop("invocation", None)
        return result

    def _confirmed(self, result: dict[str, Any]) -> dict[str, Any]:
        """The firewall changed: only a connection that starts now shows that a new one still comes through."""
        before = self._connection.get_option("ssh_args")
        self._connection.set_option("ssh_args", f"{FRESH} {before or ''}")
        try:
            confirmed = self._module({"phase": "confirm"})
        except AnsibleError as error:
            confirmed = {"failed": True, "msg": str(error)}
        finally:
            self._connection.set_option("ssh_args", before)
        return self._back(confirmed) if confirmed.get("failed") else result

    def _back(self, confirmed: dict[str, Any]) -> dict[str, Any]:
        """Over the connection that still stands, if it does; else the host's dead-man's switch does it."""
        why = f"nftables: no new ssh connection came through the new firewall ({confirmed['msg']})."
        try:
            said = self._module({"phase": "back"}).get("said")
        except AnsibleError:
            said = None
        end = said or "The host puts the release before back by itself, within a few minutes."
        return {"failed": True, "changed": True, "component": "nftables", "msg": f"{why} {end}"}


class Secrets:
    """Resolves `file:PATH`, `env:NAME` and `authority:FILE`. What it returns goes to the host and nowhere else."""

    def __init__(self, host: str, folder: str | None, loader: Any, authority: str | None = None) -> None:
        self.host, self.loader = host, loader
        self.folder = Path(folder or os.environ.get("RESTANTE_SECRETS_DIR") or Path.cwd())
        self.authority = Path(authority or self.folder / "authority")

    def resolve(self, manifest: dict[str, Any]) -> dict[str, bytes]:
        return {path: self._bytes(path, entry["reference"]) for path, entry in manifest.get("secrets", {}).items()}

    def _bytes(self, path: str, reference: str) -> bytes:
        kind, _, name = reference.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise self._missing(path, reference, f"no variable {name} is set where the deploy runs")
            return os.environ[name].encode()
        if kind not in {"file", "authority"}:
            raise self._missing(path, reference, "a reference starts with file:, env: or authority:")
        source = ((self.authority if kind == "authority" else self.folder) / name).absolute()
        try:
            return Path(self.loader.get_real_file(str(source))).read_bytes()
        except (OSError, AnsibleError) as error:
            raise self._missing(path, reference, str(error)) from error

    def _missing(self, path: str, reference: str, why: str) -> AnsibleActionFail:
        hint = "paths are relative to $RESTANTE_SECRETS_DIR, or to the current folder"
        return AnsibleActionFail(f"{path} on {self.host} needs the secret {reference}: {why} ({hint})")


def pack(folder: Path, manifest: dict[str, Any], secrets: dict[str, bytes]) -> bytes:
    """The same tree gives the same bytes: sorted, and without times or owners."""
    contents = {path: (folder / path.lstrip("/")).read_bytes() for path in manifest["files"]} | secrets
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in sorted(contents.items()):
            member = tarfile.TarInfo(f"tree{path}")
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
