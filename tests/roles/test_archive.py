"""What a transfer may hold, and where a release may write."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from fake_host import Machine, nginx
from restante_host import archive, manifest
from restante_host.errors import RefusedError

CONF = "/etc/nginx/nginx.conf"


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as whole:
        for name, content in members:
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            member.name, member.size = name, len(data)
            whole.addfile(member, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def kind(value: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = value, "/etc/shadow"
    return member


def test_the_listed_files_arrive() -> None:
    assert archive.read(tar((f"tree{CONF}", b"good")), nginx("r1").manifest) == {CONF: b"good"}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([], "lacks /etc/nginx/nginx.conf"),
        ([(f"tree{CONF}", b"other")], "another sha256"),
        ([(f"tree{CONF}", b"good"), (f"tree{CONF}", b"good")], "twice"),
        ([(f"tree{CONF}", b"good"), ("tree/etc/passwd", b"x")], "does not list"),
        ([("tree/etc/nginx/../nginx/nginx.conf", b"good")], "does not list"),
        ([(CONF, b"good")], "does not list"),
        ([(f"tree{CONF}", kind(tarfile.SYMTYPE))], "a link"),
        ([(f"tree{CONF}", kind(tarfile.LNKTYPE))], "a link"),
        ([(f"tree{CONF}", kind(tarfile.CHRTYPE))], "a folder or device"),
        ([("tree/etc", kind(tarfile.DIRTYPE))], "a folder or device"),
    ],
)
def test_anything_else_is_refused(members: list[tuple[str, bytes]], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        archive.read(tar(*members), nginx("r1").manifest)


def test_what_is_no_tar_is_refused() -> None:
    with pytest.raises(RefusedError, match="no readable tar"):
        archive.read(io.BytesIO(b"x" * 600), nginx("r1").manifest)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/../root/x", "etc/x", "/root/x", "/usr/bin/x", "/opt/x", "/etc", "/etc//x", "/etc/x\n", "/var/lib/other/x",
        "/var/lib/restante/x", "/var/lib/restante/releases/x", "/var/lib/restante/originals/etc/x",
    ],
)  # fmt: skip
def test_a_release_writes_nowhere_else(path: str) -> None:
    with pytest.raises(RefusedError, match="no place for a file"):
        _ = nginx("r1", files={path: "x"}).manifest


@pytest.mark.parametrize(
    "path",
    ["/etc/x", "/opt/a/b", "/usr/local/lib/restante/x", "/usr/local/sbin/restante", "/var/lib/restante/wheels/x"],
)
def test_places_of_a_release(path: str) -> None:
    assert path in nginx("r1", files={path: "x"}).manifest.items


@pytest.mark.parametrize("broken", [{"format": 2}, {"files": None}, {"host": None}])
def test_a_manifest_that_cannot_be_read_is_a_sentence(broken: dict[str, object]) -> None:
    raw = {key: value for key, value in (nginx("r1").raw | broken).items() if value is not None}
    with pytest.raises(RefusedError, match="render again"):
        manifest.parse(raw)


def test_a_component_must_be_known() -> None:
    with pytest.raises(RefusedError, match="belongs to component 'other'"):
        _ = nginx("r1", owners={CONF: "other"}).manifest
    with pytest.raises(RefusedError, match="change is 'maybe'"):
        _ = nginx("r1", component={"change": "maybe"}).manifest


def test_nothing_is_written_through_a_link(machine: Machine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    machine.host.path("/etc/nginx").symlink_to(elsewhere)
    with pytest.raises(RefusedError, match="/etc/nginx is a link on this host"):
        machine.apply(nginx("r1"))
    assert not list(elsewhere.iterdir())


def test_a_link_or_a_folder_is_not_replaced(machine: Machine) -> None:
    machine.host.path(CONF).parent.mkdir()
    machine.host.path(CONF).symlink_to("elsewhere")
    with pytest.raises(RefusedError, match="is a link on this host; it is not replaced"):
        machine.apply(nginx("r1"))
    machine.host.path(CONF).unlink()
    machine.host.path(CONF).mkdir()
    with pytest.raises(RefusedError, match="is a folder on this host"):
        machine.apply(nginx("r1"))


def test_an_unknown_owner_is_a_sentence(machine: Machine) -> None:
    release = nginx("r1")
    raw = release.raw
    raw["files"][CONF]["owner"] = "nobody-of-this-name"
    from restante_host import apply

    if machine.root.stat().st_uid != 0:
        pytest.skip("the test's copy gives an unknown owner's file to root, which needs root")
    with pytest.raises(RefusedError, match="belong to nobody-of-this-name"):
        apply.apply(machine.host, manifest.parse(raw), release.contents, Path(__file__))
