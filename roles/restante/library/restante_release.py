"""The module of the role restante: applies a host's tree in one go. See DOCUMENTATION, and docs/reference/deploy.md."""

# ruff: noqa: E402 - ansible-doc reads DOCUMENTATION from the head of a module
from __future__ import annotations

DOCUMENTATION = r"""
module: restante_release
short_description: Apply one host's tree of a restante bundle
description:
  - Compares, tests on the host, puts in place and, when a service does not come up, puts the release before back.
  - Called through the action plugin of the same name, which packs the tree and resolves the secrets.
options:
  phase:
    description: What to do. C(compare) only reads. C(confirm) and C(back) end a release that changed the firewall.
    type: str
    choices: [compare, apply, confirm, back]
    required: true
  manifest:
    description: The host's manifest; absent for C(confirm), C(back) and a rollback.
    type: dict
  secrets:
    description: Path of each secret, and the sha256 of its bytes.
    type: dict
    default: {}
  archive:
    description: The tar on the host that holds the tree.
    type: path
  trees:
    description: Folder of each tree that was sent, the path of its tar on the host, and the tar's sha256.
    type: dict
    default: {}
  rollback:
    description: Take the release before, which is whole on the host, instead of C(manifest).
    type: bool
    default: false
  serving:
    description: What C(compare) found to serve; C(apply) is refused when it is another by then.
    type: str
author: restante
"""

EXAMPLES = r"""
- name: Apply the release
  restante_release:
    phase: apply
    bundle: "{{ playbook_dir }}"
"""

RETURN = r"""
release:
  description: The release that was compared or applied.
  type: str
  returned: always
serving:
  description: The release that serves, with its secrets; empty before the first.
  type: str
  returned: always
needed:
  description: Whether the host differs from the release.
  type: bool
  returned: always
changes:
  description: Missing packages and users, files to write and prune, components and the reason of each.
  type: dict
  returned: always
tests:
  description: Each test of the staged tree, and how it ended.
  type: list
  elements: dict
  returned: always
"""

import os
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.restante_host import apply, archive, manifest
from ansible.module_utils.restante_host.errors import FailedError, RefusedError
from ansible.module_utils.restante_host.system import Host

ARGUMENTS: dict[str, dict[str, Any]] = {
    "phase": {"type": "str", "choices": ["compare", "apply", "confirm", "back"], "required": True},
    "manifest": {"type": "dict"},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "archive": {"type": "path"},
    "trees": {"type": "dict", "default": {}},
    "rollback": {"type": "bool", "default": False},
    "serving": {"type": "str"},
}


def main() -> None:
    # no_log here keeps the manifest, some 20 kB, out of the host's journal.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)
    os.umask(0o022)  # whatever the login's is: what is made beside the files must be as the manifest says
    try:
        module.exit_json(**_run(Host(), module.params, check=module.check_mode))
    except (FailedError, RefusedError) as error:
        refused = isinstance(error, RefusedError)
        module.fail_json(msg=str(error), component=error.component, refused=refused, changed=not refused)
    except OSError as error:
        module.fail_json(msg=f"the host's files could not be read or written: {error}", component=None, refused=False)


def _run(host: Host, params: dict[str, Any], *, check: bool) -> dict[str, Any]:
    if os.geteuid() != 0:
        raise RefusedError("this needs root on the host: set ansible_become for it (`become` in the spec)")
    if params["phase"] == "confirm":
        apply.confirm(host)
        return {"changed": True}
    if params["phase"] == "back":
        return {"changed": True, "said": apply.back(host)}
    release, contents = _release(host, params)
    if params["phase"] == "apply" and not check:
        report = apply.apply(host, release, contents or {}, _code(), params["trees"], params["serving"])
        return {"changed": report.changes.needed, **report.as_json()}
    report = apply.compare(host, release) if contents is None else apply.rehearse(host, release, contents)
    return {"changed": check and report.changes.needed, **report.as_json()}


def _release(host: Host, params: dict[str, Any]) -> tuple[manifest.Manifest, dict[str, bytes] | None]:
    if params["rollback"]:
        return apply.previous(host)
    release = manifest.parse(params["manifest"] or {}, params["secrets"])
    if params["archive"] is None:
        return release, None
    carried = Path(params["archive"])
    with carried.open("rb") as stream:
        contents = archive.read(stream, release)
    carried.unlink()  # it holds secrets, and ansible's own clean-up needs the connection
    return release, contents


def _code() -> Path:
    """The archive that ansible made of this module and what it imports."""
    return Path(sys.modules[apply.__name__].__loader__.archive)  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
