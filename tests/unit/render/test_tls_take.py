"""Which pair of files comes into the one that the servers read: the rendered script, with its folder moved."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from restante.deploy.certificates import new_key, pem
from restante.lab.authority import issue

GOLDEN = Path(__file__).parents[2] / "golden/single-host/hosts/solo"
DOMAIN, FOLDER = "agents.example.org", "/etc/restante/tls"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


class Disk:
    """What a tool that renews has written, and what the servers read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder / "tls", folder / "authority"
        self.folder.mkdir()
        text = (GOLDEN / "usr/local/lib/restante/tls-take").read_text()
        # It waits for a tool that writes one file after the other.
        self._script = text.replace(FOLDER, str(self.folder)).replace("sleep 1", ":")

    def put(self, chain: str, key: str) -> None:
        (self.folder / "fullchain.pem").write_text(chain)
        (self.folder / "privkey.pem").write_text(key)

    def take(self) -> str:
        """What it says; empty when it took the pair."""
        done = subprocess.run(["sh", "-c", self._script], capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode != 0) == bool(done.stderr), done
        return done.stderr.strip().replace(str(self.folder), FOLDER)

    @property
    def served(self) -> Path:
        return self.folder / "served.pem"


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_key_and_whole_chain_come_into_one_file_that_root_alone_reads(disk: Disk) -> None:
    chain, key = issue(disk.authority, DOMAIN)
    issuer = (disk.authority / "ca.pem").read_text()
    disk.put(chain + issuer, key)
    assert disk.take() == ""
    assert disk.served.read_text() == key + chain + issuer
    assert disk.served.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in disk.folder.iterdir() if each.name.startswith("served")] == ["served.pem"]


def test_a_pair_that_is_there_already_is_not_written_again(disk: Disk) -> None:
    disk.put(*issue(disk.authority, DOMAIN))
    assert disk.take() == ""
    written = disk.served.stat().st_ino
    assert disk.take() == ""
    assert disk.served.stat().st_ino == written


def test_tools_that_keep_all_in_one_file_and_say_which_curve_it_is_are_understood(disk: Disk) -> None:
    """Postfix wants a key and its chain by turns, and nothing between."""
    chain, key = issue(disk.authority, DOMAIN)
    older = openssl("pkey", "-traditional", given=key)
    assert "BEGIN EC PRIVATE KEY" in older
    whole = f"{openssl('ecparam', '-name', 'prime256v1')}{older}subject=CN = {DOMAIN}\n{chain}"
    disk.put(whole, whole)
    assert disk.take() == ""
    assert disk.served.read_text() == key + chain


@pytest.mark.parametrize(
    ("chain", "key", "sentence"),
    [
        ("nonsense", None, "{0}/fullchain.pem is no certificate: "),
        (None, "nonsense", "{0}/privkey.pem is no private key"),
        (None, pem(new_key()), "{0}/privkey.pem does not belong to {0}/fullchain.pem"),
    ],
)
def test_what_is_no_pair_of_this_domain_is_refused_and_the_pair_of_before_stays(
    disk: Disk, chain: str | None, key: str | None, sentence: str
) -> None:
    good = issue(disk.authority, DOMAIN)
    disk.put(*good)
    assert disk.take() == ""
    disk.put(chain or good[0], key or good[1])
    assert disk.take().startswith(sentence.format(FOLDER))
    assert disk.served.read_text() == good[1] + good[0]


@pytest.mark.parametrize(
    ("domain", "valid", "sentence"),
    [
        (DOMAIN, timedelta(hours=-1), f"{FOLDER}/fullchain.pem has expired"),
        ("other.example.org", timedelta(days=90), f"{FOLDER}/fullchain.pem is not for {DOMAIN}"),
    ],
)
def test_a_pair_that_no_agent_would_believe_is_refused_and_nothing_is_served_rather_than_it(
    disk: Disk, domain: str, valid: timedelta, sentence: str
) -> None:
    disk.put(*issue(disk.authority, domain, valid))
    assert disk.take() == sentence
    assert not disk.served.exists()


def openssl(*argv: str, given: str = "") -> str:
    return subprocess.run(
        ["openssl", *argv], input=given, capture_output=True, text=True, check=True, timeout=30
    ).stdout
