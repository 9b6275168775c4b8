"""The two ways in which applying a release ends early. Both texts are for the operator."""

from __future__ import annotations


class RefusedError(Exception):
    """Found before the first change: the host is as it was."""

    def __init__(self, message: str, component: str | None = None) -> None:
        super().__init__(message)
        self.component = component


class FailedError(Exception):
    """Found after the first change: something has to be put back."""

    def __init__(self, message: str, component: str | None = None) -> None:
        super().__init__(message)
        self.component = component
