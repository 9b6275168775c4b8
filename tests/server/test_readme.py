"""The README's agent runs unchanged against `restante up`."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_the_agent_of_the_readme_prints_the_mail_that_comes_in(tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    http, smtp = free_port(), free_port()
    up = [
        sys.executable,
        "-m",
        "restante",
        "up",
        "--data",
        str(tmp_path / "data"),
        "--token-file",
        str(tmp_path / "token"),
    ]
    where = ["--http", f"127.0.0.1:{http}", "--smtp", f"127.0.0.1:{smtp}"]
    with subprocess.Popen([*up, *where], stdout=subprocess.PIPE, text=True) as office:
        try:
            assert office.stdout
            assert office.stdout.readline(), "it says where it is when it serves"
            token = (tmp_path / "token").read_text()
            given = {"RESTANTE_URL": f"http://127.0.0.1:{http}", "RESTANTE_INBOX": "support", "RESTANTE_TOKEN": token}
            with subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **given}
            ) as agent:
                with smtplib.SMTP("127.0.0.1", smtp) as client:
                    client.sendmail(
                        "a@example.net", ["support@example.test"], "From: a@example.net\r\nSubject: hello\r\n\r\nhi\r\n"
                    )
                assert agent.stdout
                assert agent.stdout.readline() == "a@example.net hello\n"
                agent.terminate()
                assert agent.wait(20) == 0
        finally:
            office.terminate()
