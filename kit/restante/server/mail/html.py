"""The first words of an HTML mail. A preview only: nothing here makes HTML safe to show."""

from __future__ import annotations

import re
from html import unescape

HTML_LIMIT = 1 << 18  # characters that are looked at: newsletters open with long style sheets

_UNSHOWN = re.compile(r"<(?:(style|script|head|title)\b|!--)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")  # stops at the next "<", so brackets without an end cost nothing


def preview_of_html(html: str, length: int) -> str:
    """About `length` characters of what a reader would see first."""
    html = html[:HTML_LIMIT]
    shown: list[str] = []
    position = wanted = 0
    while wanted < length * 20 and (opening := _UNSHOWN.search(html, position)):
        shown.append(html[position : opening.start()])
        wanted += len(shown[-1])
        end = re.compile(f"</{opening[1]}" if opening[1] else "-->", re.IGNORECASE).search(html, opening.end())
        if end is None:
            break
        position = end.start() if opening[1] else end.end()
    else:
        shown.append(html[position : position + length * 20])
    words = _TAG.sub(" ", "".join(shown))[: length * 10]
    return " ".join(unescape(words).replace("\0", "").split())[:length]
