"""nginx configuration text -> directives. For the operator's snippets and for reading `nginx -T` back.

crossplane does this too; its last release is of 2022 (docs/decisions/0004-libraries.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<mark>[;{}]) | "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>(?:\\.|[^'\\])*)'
    | (?P<word>(?:\\.|\$\{[^}\s;{]*\}|[^\s;{}"'\\])(?:\\.|\$\{[^}\s;{]*\}|[^\s;{\\])*)""",
    re.VERBOSE | re.DOTALL,
)


class NotNginx(Exception):  # noqa: N818 - a reason that callers put into their own sentence
    """The text is not a sequence of whole directives; str() says why."""


@dataclass
class Directive:
    """`name args... ;` or `name args... { block }`; `block` is None for the former."""

    name: str
    args: list[str] = field(default_factory=list)
    block: list[Directive] | None = None


def parse(text: str) -> list[Directive]:
    """Raises NotNginx."""
    root: list[Directive] = []
    stack, words, position = [root], list[str](), 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise NotNginx(f"line {text.count(chr(10), 0, position) + 1} has an open quote or a stray backslash")
        position = match.end()
        mark = match["mark"]
        if mark:
            _mark(mark, stack, words)
            words = []
        elif match.lastgroup:
            words.append(match[match.lastgroup])
    if words:
        raise NotNginx(f"'{words[0]}' does not end with ;")
    if len(stack) > 1:
        raise NotNginx("a { is never closed")
    return root


def _mark(mark: str, stack: list[list[Directive]], words: list[str]) -> None:
    if mark == "}":
        if words:
            raise NotNginx(f"'{words[0]}' does not end with ;")
        if len(stack) == 1:
            raise NotNginx("a } closes what was not opened here")
        stack.pop()
    elif not words:
        raise NotNginx(f"a {mark} stands where a directive should")
    else:
        directive = Directive(words[0], words[1:], [] if mark == "{" else None)
        stack[-1].append(directive)
        if directive.block is not None:
            stack.append(directive.block)
