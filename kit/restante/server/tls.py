"""What the post office shows to edges: a certificate that lives for days, so it is taken up while sockets stay open."""

from __future__ import annotations

import ssl
from pathlib import Path

from restante.errors import InputError


class Shown:
    """One context for all that listens; who connects after `look` found new files is shown the new certificate.

    Raises InputError when the files cannot be used at the start; later the old pair stays, and `look` raises it again each time.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Edges are ours, and know no older one.
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.look()

    def look(self) -> bool:
        """Take up what was renewed; whether something was."""
        try:
            written = self._certificate.stat().st_mtime_ns
            if written == self._seen:
                return False
            # A pair that does not fit would leave a context of both: it is tried on another one first.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            raise InputError(
                f"{self._certificate} and {self._key} are no pair that can be shown to edges: {error}; "
                "/usr/local/lib/restante/identity makes them anew"
            ) from None
        self._seen = written
        return True
