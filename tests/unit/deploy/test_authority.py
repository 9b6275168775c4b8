"""The authority that hosts believe: what it makes, what it renews, and what it leaves as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from restante.deploy import authority
from restante.deploy.certificates import DAY, new_key, pem, root
from restante.errors import InputError

HOSTS = {
    "store-1": ["store-1.mail.example.org", "198.51.100.21"],
    "post-1": ["post-1.mail.example.org", "2001:db8::11"],
}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leaf(folder: Path, issuer: str, names: str, who: str | None = None) -> Path:
    """As templates/identity signs one on the host."""
    who = who or HOSTS[issuer][0]
    key, request, extensions, made = (folder / f"leaf.{part}" for part in ("key", "request", "extensions", "pem"))
    extensions.write_text(f"subjectAltName = {names}\nbasicConstraints = critical, CA:false\n")
    for argv in (
        f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -subj /CN={who} -out {request}",
        f"openssl x509 -req -in {request} -CA {folder}/{issuer}.pem -CAkey {folder}/{issuer}.key -days 7 -extfile {extensions} -out {made}",
    ):
        subprocess.run(argv.split(), check=True, capture_output=True)
    return made


def believed(folder: Path, issuer: str, made: Path) -> bool:
    argv = f"openssl verify -CAfile {folder}/root.pem -untrusted {folder}/{issuer}.pem {made}"
    return subprocess.run(argv.split(), check=False, capture_output=True).returncode == 0


def test_a_second_deploy_makes_nothing(tmp_path: Path) -> None:
    said = authority.ensure(tmp_path / "authority", HOSTS)
    assert [line.split()[0] for line in said] == ["made"] * 3
    before = files(tmp_path / "authority")
    assert authority.ensure(tmp_path / "authority", HOSTS) == []
    assert files(tmp_path / "authority") == before
    assert (tmp_path / "authority/root.key").stat().st_mode & 0o777 == 0o600


def test_an_issuer_speaks_for_its_own_host_and_for_no_other(tmp_path: Path) -> None:
    authority.ensure(tmp_path, HOSTS)
    own = "DNS:store-1.mail.example.org, IP:198.51.100.21"
    assert believed(tmp_path, "store-1", leaf(tmp_path, "store-1", own))
    for stolen in ("DNS:post-1.mail.example.org", "IP:198.51.100.11", f"{own}, DNS:mail.example.org"):
        assert not believed(tmp_path, "store-1", leaf(tmp_path, "store-1", stolen))
    assert not believed(tmp_path, "store-1", leaf(tmp_path, "store-1", own, who="post-1.mail.example.org")), (
        "PostgreSQL knows hosts by that name"
    )


def test_members_believe_each_other_s_issuers_alone_and_the_one_before_while_it_lives(tmp_path: Path) -> None:
    authority.ensure(tmp_path, HOSTS)
    authority.gather(tmp_path, ["store-1"])
    own = "DNS:store-1.mail.example.org, IP:198.51.100.21"

    def let_in(made: Path, issuer: str) -> bool:
        argv = f"openssl verify -partial_chain -CAfile {tmp_path}/{authority.MEMBERS} -untrusted {tmp_path}/{issuer}.pem {made}"
        return subprocess.run(argv.split(), check=False, capture_output=True).returncode == 0

    of_old_issuer = leaf(tmp_path, "store-1", own).rename(tmp_path / "old.pem")
    assert let_in(of_old_issuer, "store-1")
    assert not let_in(leaf(tmp_path, "post-1", "DNS:post-1.mail.example.org"), "post-1")
    authority.ensure(tmp_path, {**HOSTS, "store-1": ["store-1.mail.example.org", "198.51.100.29"]})
    authority.gather(tmp_path, ["store-1"])
    assert let_in(of_old_issuer, "store-1.before")
    assert let_in(leaf(tmp_path, "store-1", "DNS:store-1.mail.example.org"), "store-1")


def test_a_root_that_cannot_sign_leaves_the_issuer_that_is_there(tmp_path: Path) -> None:
    authority.ensure(tmp_path, HOSTS)
    (tmp_path / "root.key").write_bytes(b"$ANSIBLE_VAULT;1.1;AES256\n")
    before = files(tmp_path)
    with pytest.raises(InputError, match="encrypted with ansible-vault"):
        authority.ensure(tmp_path, {**HOSTS, "store-1": ["store-1.mail.example.org", "198.51.100.29"]})
    assert files(tmp_path) == before


def by_others(folder: Path, name: str, days: int) -> bytes:
    """An issuer with its key, signed by an operator's own authority."""
    made = root("an operator's own", key := new_key(), days * DAY, 0)
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_text(pem(key))
    return (folder / f"{name}.pem").read_bytes()


def test_an_issuer_that_was_signed_elsewhere_is_used_to_its_end_and_never_replaced(tmp_path: Path) -> None:
    authority.ensure(tmp_path, HOSTS)
    for days, said in ((100, []), (30, ["ends in 29 days, and was not made here"])):
        theirs = by_others(tmp_path, "post-1", days)
        assert [line.partition(" ")[2].partition(":")[0] for line in authority.ensure(tmp_path, HOSTS)] == said
        assert (tmp_path / "post-1.pem").read_bytes() == theirs
    (tmp_path / "root.key").unlink()
    by_others(tmp_path, "post-1", 300)
    assert authority.ensure(tmp_path, HOSTS) == []
    by_others(tmp_path, "post-1", -1)
    with pytest.raises(InputError, match="and was not made here: put its successor there"):
        authority.ensure(tmp_path, HOSTS)


def test_an_issuer_is_made_anew_when_its_host_moved_or_half_its_life_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.ensure(tmp_path, HOSTS)
    assert len(authority.ensure(tmp_path, {**HOSTS, "post-1": ["post-1.mail.example.org", "198.51.100.12"]})) == 1
    monkeypatch.setattr(authority, "ISSUER_LIFE", 0.9 * DAY)  # it begins a day ago
    old = authority.ensure(tmp_path, {"late": ["late.example.org"]})
    assert len(old) == 1
    monkeypatch.undo()
    assert len(authority.ensure(tmp_path, {"late": ["late.example.org"]})) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read (No such file or directory), and it must sign an issuer for post-1"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n", "is encrypted with ansible-vault"),
        (b"nonsense", "is no private key without a passphrase"),
    ],
)
def test_a_root_that_cannot_sign_is_refused_with_what_would_do(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    authority.ensure(tmp_path, {"store-1": HOSTS["store-1"]})
    (tmp_path / "root.key").unlink()
    if content:
        (tmp_path / "root.key").write_bytes(content)
    assert authority.ensure(tmp_path, {"store-1": HOSTS["store-1"]}) == [], "an issuer that is there needs no root key"
    with pytest.raises(InputError) as caught:
        authority.ensure(tmp_path, HOSTS)
    assert sentence in str(caught.value)
    assert "post-1.pem" in str(caught.value)
