"""One family of errors. Each is a sentence for the person who can act on it, and knows its exit code.

RestanteError
  InputError     the spec, an argument or a file is wrong: nothing was tried          exit 2
    SpecError    every problem of one spec, each with its place
  FoundError     the work was done or tried, and found something wrong on a host      exit 1
"""

from __future__ import annotations

from dataclasses import dataclass


class RestanteError(Exception):
    """What was found, where, why it is refused, what would be accepted. Shown to the operator as it is."""

    exit_code = 1


class FoundError(RestanteError):
    """A host, a check or a deploy failed: trying again may help once the cause is gone."""


class InputError(RestanteError):
    """What the operator gave cannot work: trying again gives the same answer."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a spec.

    `line` and `column` count from 1, 0 when the problem has no place of its own. `path` is dotted, as in
    `hosts.edge-1.ipv4`. `message` says what is wrong and what would be accepted.
    """

    line: int
    column: int
    path: str
    message: str

    def render(self, file: str) -> str:
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}"


class SpecError(InputError):
    """All problems found in one spec, in the order of their places."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems))
        super().__init__("\n".join(problem.render(file) for problem in self.problems))
