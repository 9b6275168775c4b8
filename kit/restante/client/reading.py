"""What an inbox holds, read: nothing here leases, acknowledges or counts an attempt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from restante.client.connection import boottime
from restante.client.errors import MailboxError
from restante.client.hands import Call
from restante.client.http import Http
from restante.client.message import Attachment, Message
from restante.client.settings import Settings
from restante.client.subscription import Subscription

CHUNK = 64 << 10


class Reader:
    """Its verbs are Mailbox's, which gives it what it needs."""

    settings: Settings
    _call: Call
    _http: Http | None
    _subscription: Subscription

    def wait_for(
        self, *, from_: str = "", subject: str = "", timeout: float = 60, since: str | float | None = None
    ) -> Message:
        """The first message whose sender and subject contain the given texts. It is read, not received: acknowledge nothing.

        `since`: a cursor as `head()` gives it, or Unix time; from now on when left out. Raises TimeoutError.
        """
        cursor = since if isinstance(since, str) else None
        if since is None:
            cursor = self.head()
        deadline = boottime() + timeout
        while True:
            for message in self.messages(cursor=cursor, since=since if isinstance(since, float | int) else None):
                cursor = message.cursor
                if from_.lower() in message.sender.lower() and subject.lower() in message.subject.lower():
                    return self.message(message.id)
            if boottime() >= deadline:
                wanted = " and ".join(
                    each for each in (from_ and f"from {from_}", subject and f"about {subject}") if each
                )
                raise TimeoutError(f"no mail {wanted or 'at all'} came to {self.settings.inbox} within {timeout:.0f} s")
            since = None if cursor else since
            self._subscription.news.clear()
            self._subscription.news.wait(min(1.0, max(0.0, deadline - boottime())))

    def head(self) -> str:
        """The cursor of the newest message: what comes later comes after it."""
        return str(self._call("GET", f"{self.settings.path}/messages", None, limit=1)["head"])

    def messages(
        self, *, cursor: str | None = None, since: float | None = None, limit: int | None = None
    ) -> Iterator[Message]:
        """Summaries in order, after `cursor` or from `since` (Unix time) on. Reading acknowledges nothing."""
        count, query = 0, {"since": since} if since is not None and cursor is None else {}
        while True:
            page = self._call(
                "GET", f"{self.settings.path}/messages", None, **query, **({"cursor": cursor} if cursor else {})
            )
            for item in page["items"]:
                yield Message(item)
                count += 1
                if limit is not None and count >= limit:
                    return
            cursor, query = page["next_cursor"], {}
            if not cursor:
                return

    def message(self, message_id: str) -> Message:
        """All of one message."""
        return Message(self._call("GET", f"{self.settings.path}/messages/{quote(message_id)}"))

    def raw(self, message_id: str) -> bytes:
        """The mail as it came, byte for byte."""
        return b"".join(self._stream(f"{self.settings.path}/messages/{quote(message_id)}/raw"))

    def save_attachment(self, message: Message, attachment: Attachment, path: str | Path) -> Path:
        """Stream it to a file, which is there when it is whole."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.part")
        where = f"{self.settings.path}/messages/{quote(message.id)}/attachments/{quote(attachment.id)}"
        with partial.open("wb") as file:
            for chunk in self._stream(where):
                file.write(chunk)
        return partial.replace(target)

    def _stream(self, path: str) -> Iterator[bytes]:
        if self._http is None:
            raise MailboxError("a fake post office keeps no raw mail")
        yield from self._http.stream(path, CHUNK)
