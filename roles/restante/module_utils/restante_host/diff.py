"""What --diff shows. A secret, and a file that is no text, is only named."""

from __future__ import annotations

from typing import Any

from . import files
from .changes import Step
from .manifest import Item

LARGEST = 200_000


def entries(step: Step) -> list[dict[str, Any]]:
    """In ansible's form: before, after and their headers, from which a callback makes the unified diff."""
    hidden = {path for release in (step.new, *step.known) for path, item in release.items.items() if item.secret}
    after = {path: _staged(step.new.items[path], step.contents[path]) for path in step.changes.write}
    after |= {path: files.live(step.store.kept, path) for path in step.changes.prune}
    return [_entry(path, files.live(step.host, path), wanted, path in hidden) for path, wanted in after.items()]


def _staged(item: Item, data: bytes) -> files.Live | None:
    return files.Live(data, item.mode, item.owner, item.group)


def _entry(path: str, before: files.Live | None, after: files.Live | None, secret: bool) -> dict[str, Any]:
    if secret:
        return {"prepared": f"{path}: secret {'changed' if after else 'removed'}\n"}
    texts = _text(before), _text(after)
    if None in texts:
        what = "changed" if after else "removed"
        return {"prepared": f"{path}: {what}, not shown (no text, or larger than {LARGEST} bytes)\n"}
    return {
        "before": texts[0],
        "after": texts[1],
        "before_header": f"{path} ({_rights(before)})",
        "after_header": f"{path} ({_rights(after)})",
    }


def _text(found: files.Live | None) -> str | None:
    if found is None:
        return ""
    if len(found.data) > LARGEST or b"\0" in found.data:
        return None
    try:
        return found.data.decode()
    except UnicodeDecodeError:
        return None


def _rights(found: files.Live | None) -> str:
    return f"{found.mode:04o} {found.owner}:{found.group}" if found else "absent"
