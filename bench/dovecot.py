"""A Dovecot of the benchmark's own: LMTP into a maildir that is synced on every delivery, and IMAP on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Log, free_port, process

PASSWORD = "bench"
CONFIGURATION = """
protocols = lmtp imap
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/maildir
mail_fsync = always
postmaster_address = postmaster@example.org
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u allow_all_users=yes
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service imap-login {{
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


@dataclass(frozen=True)
class Dovecot:
    lmtp: Path
    imap: int
    mail: Path

    def maildir(self, user: str) -> Path:
        return self.mail / user / "maildir"


@contextmanager
def dovecot(folder: Path) -> Iterator[Dovecot]:
    mail, port = folder / "mail", free_port()
    mail.mkdir(parents=True)
    mail.chmod(0o777)  # Dovecot's delivering user makes each mailbox
    file = folder / "dovecot.conf"
    file.write_text(CONFIGURATION.format(folder=folder, password=PASSWORD, port=port))
    with process(["dovecot", "-F", "-c", str(file)], stderr=subprocess.PIPE) as master:
        Log(master.stderr).until("starting up")
        yield Dovecot(folder / "lmtp", port, mail)
