"""The command as an operator types it: exit status, sentences, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from restante import resources
from restante.spec.document import read

BAD = Path(__file__).parents[2] / "bad_specs/unknown-key/spec.yml"
EXAMPLE = str(resources.examples() / "websocket-only.yml")


def restante(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "restante", *argv], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("argv", [["--help"], ["validate", EXAMPLE], ["schema"], ["explain", EXAMPLE, "heartbeat"]])
def test_what_works_exits_0(argv: list[str]) -> None:
    assert restante(*argv).returncode == 0


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["validate", "nowhere.yml"], "nowhere.yml: No such file or directory; give the path of a spec"),
        (["validate", str(BAD)], "did you mean 'heartbeat'?"),
        (["explain", EXAMPLE, "hartbeat"], "no value is derived under 'hartbeat'"),
        (["explain", EXAMPLE, "--file", "back:/etc/x"], "'back' is no host of this spec"),
        (["explain", EXAMPLE, "--file", "front:/etc/x"], "front gets no file /etc/x"),
        (["deploy", "nowhere.yml", "--bundle", "."], "nowhere.yml: there is no such file"),
        (["diff", EXAMPLE, "/nowhere"], "/nowhere is no bundle"),
        (["lab", "exec", EXAMPLE, "front", "true"], "is not up; start it with: restante lab up SPEC"),
        (["init", ".", "--example", "none"], "there is no example 'none'"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_input_exits_2_with_a_sentence(argv: list[str], sentence: str, tmp_path: Path) -> None:
    done = restante(*argv, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr


@pytest.mark.parametrize("example", sorted(resources.examples().glob("*.yml")), ids=lambda path: path.stem)
def test_the_schema_that_editors_read_accepts_every_example(example: Path) -> None:
    schema = json.loads(restante("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read(example.read_text(), example.name).data, schema)


def test_a_bundle_changed_by_hand_is_refused_by_deploy_and_told_by_diff(tmp_path: Path) -> None:
    assert restante("render", EXAMPLE, "--out", str(tmp_path / "out")).returncode == 0
    (tmp_path / "out/hosts/front/etc/nginx/nginx.conf").write_text("worker_processes 9;\n")
    refused = restante("deploy", EXAMPLE, "--bundle", str(tmp_path / "out"))
    assert refused.returncode == 2
    assert "hosts/front/etc/nginx/nginx.conf" in refused.stderr
    told = restante("diff", EXAMPLE, str(tmp_path / "out"))
    assert told.returncode == 1
    assert "changed by hand" in told.stdout
    assert "nothing differs" not in told.stdout


def test_help_imports_no_verb() -> None:
    script = "import sys, restante.cli.main as m; m.main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for heavy in ("pydantic", "jinja2", "yaml", "ansible", "cryptography"):
        assert f"'{heavy}'" not in done.stdout


def test_init_render_diff(tmp_path: Path) -> None:
    assert restante("init", "ops", cwd=tmp_path).returncode == 0
    spec = tmp_path / "ops/restante.yml"
    assert spec.read_text().startswith("# yaml-language-server: $schema=./restante.schema.json\n")
    again = restante("init", "ops", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert restante("render", str(spec), "--out", "out", cwd=tmp_path).returncode == 0
    assert restante("diff", str(spec), "out", cwd=tmp_path).returncode == 0
    spec.write_text(spec.read_text().replace("agents: 500", "agents: 900"))
    changed = restante("diff", str(spec), "out", "--json", cwd=tmp_path)
    assert changed.returncode == 1
    assert {effect["component"] for effect in json.loads(changed.stdout)["effects"]} == {"nginx"}


def test_explain_file_names_the_key_of_each_tuned_directive() -> None:
    rows = json.loads(restante("explain", EXAMPLE, "--file", "front:/etc/nginx/restante/site.conf", "--json").stdout)
    keys = {row["key"]: row["directive"] for row in rows}
    assert keys["edge.socket_read_timeout"] == "proxy_read_timeout 3600s;"
    assert keys["edge.socket_send_timeout"] == "proxy_send_timeout 3600s;"
    assert keys["edge.token_rate"].startswith("limit_req ")
