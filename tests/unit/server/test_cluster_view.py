"""What follows from what is known of a cluster: may this member be spared, and is it one of them again?"""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.server.cluster.__main__ import _news
from restante.server.cluster.view import Member, View, members

ALL = {"a": True, "b": True, "c": True}


def view(roles: str, etcd: dict[str, bool] = ALL, own: str = "a") -> View:
    """`roles`: one word a member: leads, synchronous, follows, starting, copying or absent."""
    made = {}
    for name, word in zip("abc", roles.split(), strict=True):
        known = {
            "leads": ("leader", "running", None), "synchronous": ("sync_standby", "streaming", 0),
            "follows": ("replica", "streaming", 5), "starting": ("replica", "starting", None),
            "copying": ("replica", "creating replica", None),
        }  # fmt: skip
        if word in known:
            role, state, lag = known[word]
            made[name] = Member(name, role, state, 1, lag)
    return View(own, ("a", "b", "c"), etcd, made)


@pytest.mark.parametrize(
    ("roles", "etcd", "why"),
    [
        ("leads synchronous follows", ALL, None),
        ("synchronous leads follows", ALL, None),
        ("follows leads synchronous", ALL, None),
        ("leads synchronous follows", {"a": True, "b": True, "c": False}, "etcd is healthy on a, b only"),
        ("leads synchronous absent", {"a": True, "b": True}, "etcd is healthy on a, b only"),
        ("synchronous leads absent", ALL, "no other member follows the leader"),
        ("leads starting absent", ALL, "no other member follows the leader"),
        ("leads follows follows", ALL, "this member leads, and no other has every commit"),
        # Already broken: a deploy that mends must not be refused.
        ("starting absent absent", {"a": False}, None),
        ("starting starting starting", ALL, None),
        ("starting leads synchronous", ALL, None),
        ("starting leads absent", ALL, None),
    ],
)
def test_a_member_is_spared_unless_the_others_need_it(roles: str, etcd: dict[str, bool], why: str | None) -> None:
    found = view(roles, etcd).missed()
    assert found is None if why is None else found and found.startswith(why), found


@pytest.mark.parametrize(
    ("roles", "etcd", "why"),
    [
        ("leads synchronous follows", ALL, None),
        ("follows leads synchronous", ALL, None),
        ("leads absent absent", ALL, None),
        ("leads follows absent", ALL, "no member is a synchronous standby"),
        ("starting leads synchronous", ALL, "PostgreSQL on this host is starting"),
        ("copying leads synchronous", ALL, "PostgreSQL on this host is creating replica"),
        ("absent leads synchronous", ALL, "PostgreSQL on this host is unknown to the cluster"),
        ("synchronous absent absent", ALL, "no member leads"),
        ("leads synchronous follows", {"a": False, "b": True, "c": True}, "etcd on this host is not healthy"),
        # A cluster that is being made: the first members wait for the last.
        ("absent absent absent", {"a": False}, None),
        ("absent absent absent", {"a": True, "b": True}, None),
        ("absent absent absent", ALL, "no member leads"),
        # One that has lost most members has nothing to wait for.
        ("leads absent absent", {"a": False}, None),
    ],
)
def test_a_member_is_settled_when_it_takes_its_part(roles: str, etcd: dict[str, bool], why: str | None) -> None:
    found = view(roles, etcd).unsettled()
    assert found is None if why is None else found and found.startswith(why), found


@pytest.mark.parametrize(
    ("roles", "etcd", "text"),
    [
        ("leads synchronous follows", ALL, ""),
        ("synchronous leads absent", ALL, ""),
        ("leads synchronous absent", ALL, "c: away"),
        ("leads synchronous follows", {"a": True, "b": True}, "c: away"),
        ("leads follows starting", ALL, "no member has every commit: mail waits in Postfix until one does; c: away"),
        ("synchronous follows absent", ALL, "no member leads"),
    ],
)
def test_the_member_that_leads_tells_what_a_person_should_know(roles: str, etcd: dict[str, bool], text: str) -> None:
    found = view(roles, etcd).trouble()
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_a_trouble_is_told_when_it_was_seen_twice_and_again_when_it_is_over(tmp_path: Path) -> None:
    told = []
    for trouble in ("", "x", "", "x", "x", "x", "y", "y", "", ""):
        _news(tmp_path, trouble)
        news = tmp_path / "news"
        told.append(news.read_text() if news.exists() else None)
    assert told == [None, None, None, None, "x", None, None, "y", None, "over: y"]


def test_both_dialects_of_patroni_are_understood() -> None:
    three = {"name": "a", "role": "replica", "state": "running", "timeline": 3, "lag": 0}
    unknown = {"name": "b", "role": "replica", "state": "streaming", "timeline": 3, "lag": "unknown"}
    found = members({"members": [three, unknown, {"name": "c", "role": "leader", "state": "running", "timeline": 3}]})
    assert [found[name].follows for name in "abc"] == [True, False, False]
    assert found["c"].leads
