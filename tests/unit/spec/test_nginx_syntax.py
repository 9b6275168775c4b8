"""nginx text to directives; snippets may not reach out of their context."""

from __future__ import annotations

import pytest

from restante.spec.nginx_syntax import NotNginx, parse


def test_directives_blocks_quotes_and_comments() -> None:
    (server,) = parse('# a; comment {\nserver { listen 443 ssl; return 200 "a; b {"; set $x ${y}z; }\n')
    assert server.name == "server"
    assert [(inner.name, inner.args) for inner in server.block or []] == [
        ("listen", ["443", "ssl"]),
        ("return", ["200", "a; b {"]),
        ("set", ["$x", "${y}z"]),
    ]


@pytest.mark.parametrize("text", ["gzip on", "} server {", "a { b;", "gzip 'on;", ";", "a; }"])
def test_what_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(NotNginx):
        parse(text)
