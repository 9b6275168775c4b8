"""A mail as the post office shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Attachment:
    """`size` in bytes; `inline` is shown in the text. Its content is fetched apart: `Mailbox.save_attachment`."""

    id: str
    filename: str | None
    content_type: str
    size: int
    inline: bool


@dataclass(frozen=True, slots=True)
class Message:
    """`data` is the whole answer; what a newer server says beyond these names is there.

    Addresses are texts; `received_at` is Unix time; `automated` after RFC 3834: never answer those by machine.
    `parse_error` is set when the mail is malformed: then `Mailbox.raw` has what there is.
    """

    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def cursor(self) -> str:
        return str(self.data["cursor"])

    @property
    def subject(self) -> str:
        return str(self.data.get("subject") or "")

    @property
    def sender(self) -> str:
        """The address in From."""
        return str((self.data.get("from") or {}).get("address") or "")

    @property
    def text(self) -> str:
        return str(self.data.get("text") or "")

    @property
    def html(self) -> str:
        return str(self.data.get("html") or "")

    @property
    def message_id(self) -> str:
        return str(self.data.get("message_id") or "")

    @property
    def received_at(self) -> float:
        return float(self.data["received_at"])

    @property
    def automated(self) -> bool:
        return bool(self.data.get("automated"))

    @property
    def duplicate_of(self) -> str | None:
        return self.data.get("duplicate_of")

    @property
    def truncated(self) -> bool:
        """Text or HTML is longer than 1 MiB and cut there; `Mailbox.raw` has all of it."""
        return bool(self.data.get("truncated"))

    @property
    def parse_error(self) -> str | None:
        return self.data.get("parse_error")

    @property
    def attachments(self) -> Sequence[Attachment]:
        return [
            Attachment(
                each["attachment_id"],
                each.get("filename"),
                each["content_type"],
                each["size"],
                bool(each.get("inline")),
            )
            for each in self.data.get("attachments") or ()
        ]
