"""The parts of a mail, within fixed bounds: offsets into the bytes, one search of a slice for each multipart that opens it.

The standard library's parser goes line by line, once for every open multipart, and recurses: a plain mail takes it 300
microseconds, 25 MiB a second, and 1,000 levels stop it. Here a level costs one search, and levels and parts are counted.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from restante.server.mail.headers import base64, head_end
from restante.server.mail.parameters import content_type_of, to_fields

DEPTH_LIMIT = 12  # a forwarded forward has 4
PART_LIMIT = 1000
BOUNDARY_LIMIT = 256  # bytes; RFC 2046 has 70


@dataclass(slots=True)
class Part:
    """A part without parts of its own: where its content stands, and what its header says of it."""

    number: int
    fields: Mapping[bytes, bytes]
    content_type: str
    parameters: Mapping[str, str]
    start: int
    stop: int

    def content(self, raw: bytes, trouble: list[str]) -> bytes:
        """The content as it was before it was encoded for the way; what can't be decoded stays as it is."""
        data = raw[self.start : self.stop]
        encoding = self.fields.get(b"content-transfer-encoding", b"").partition(b";")[0].strip().lower()
        if encoding == b"quoted-printable":
            return binascii.a2b_qp(data)
        if encoding == b"base64":
            found = base64(data)
            if found is None or (not found and data.strip()):
                trouble.append(f"Part {self.number} is not the base64 that its header says it is.")
            return found or data
        if encoding not in (b"", b"7bit", b"8bit", b"binary"):
            trouble.append(f"The transfer encoding of part {self.number} is not known.")
        return data


@dataclass(slots=True)
class Walk:
    """One way through the parts of a mail. `trouble` fills on the way."""

    raw: bytes
    trouble: list[str] = field(default_factory=list)
    count: int = 0

    def parts(self, fields: Mapping[bytes, bytes], start: int, stop: int, depth: int = 0) -> Iterator[Part]:
        """The parts in their order; a mail that is no multipart is its own only part."""
        content_type, parameters = content_type_of(fields)
        if content_type.startswith("multipart/"):
            inside = self._inside(parameters.get("boundary", "").rstrip(), start, stop, depth)
            if inside:
                for first, last in inside:
                    if self.count >= PART_LIMIT:
                        return
                    end = head_end(self.raw, first, last)
                    yield from self.parts(
                        to_fields(self.raw[first:end]), body_start(self.raw, end, last), last, depth + 1
                    )
                return
            content_type = "text/plain" if depth == 0 else "application/octet-stream"
        self.count += 1
        yield Part(self.count, fields, content_type, parameters, start, stop)

    def _inside(self, boundary: str, start: int, stop: int, depth: int) -> list[tuple[int, int]]:
        """The slices between the boundaries. Empty, with the reason in `trouble`, when it can't be opened."""
        if depth >= DEPTH_LIMIT:
            self._say(f"The parts are nested deeper than {DEPTH_LIMIT} levels; what lies deeper was not opened.")
            return []
        delimiter = boundary.encode()
        found = _slices(self.raw, delimiter, start, stop) if 0 < len(delimiter) <= BOUNDARY_LIMIT else []
        if not found:
            self._say("A multipart has no boundary, or its boundary does not occur; it was not opened.")
        if len(found) + self.count > PART_LIMIT:
            self._say(f"The mail has more than {PART_LIMIT} parts; the others were not read.")
        return found

    def _say(self, sentence: str) -> None:
        if sentence not in self.trouble:
            self.trouble.append(sentence)


def body_start(raw: bytes, end: int, stop: int) -> int:
    """Behind the empty line at `end`."""
    if raw.startswith(b"\r\n", end):
        return min(end + 2, stop)
    return min(end + raw.startswith(b"\n", end), stop)


def _slices(raw: bytes, boundary: bytes, start: int, stop: int) -> list[tuple[int, int]]:
    # RFC 2046, 5.1.1: the line break before a delimiter belongs to it, white space behind it is nothing.
    delimiter = re.compile(rb"\n--" + re.escape(boundary) + rb"(--)?[ \t]*\r?(?:\n|\Z)")
    found: list[tuple[int, int]] = []
    first = -1
    position = start - 1 if start and raw[start - 1 : start] == b"\n" else start
    while match := delimiter.search(raw, position, stop):
        if first >= 0:
            last = match.start() - (raw[match.start() - 1 : match.start()] == b"\r")
            found.append((first, max(first, last)))
        if match[1] or len(found) > PART_LIMIT:
            return found
        first = match.end()
        position = first - 1  # the line break may be that of the next delimiter
    if 0 <= first < stop:
        found.append((first, stop))
    return found
