"""Without Prometheus the same conditions are watched here, and told to the spec's `alert`: once when they begin, once when they end."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from restante.server.api.context import Post
from restante.server.gauges import Waiting, backup_age, mta_queue, waiting
from restante.server.paths import Paths
from restante.server.store import webhooks
from restante.server.store.base import FreeSpace, StoreError
from restante.server.trends import Trend

log = logging.getLogger("restante.alert")
UNTOLD_S = 120  # twelve of the looks that the store's host takes
UNSEEN_S = 900  # three of the looks at Postfix's queue (queue.watch)
DAY_S, FULL_SOON_S = 86_400, 7 * 86_400
OLDEST_S = 900  # unacknowledged for a quarter of an hour: the nine-hour silence, found in minutes


@dataclass
class Watch:
    """`told`: the conditions that a person was told about and that last."""

    post: Post
    floor_bytes: int
    command: str | None = None
    told: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._paths, self._room = Paths(self.post), Trend(DAY_S)

    async def look(self) -> None:
        """Tell what began, and what ended."""
        now = dict([each async for each in self._conditions()])
        for key in now.keys() - self.told.keys():
            if await self._tell(key, now[key]):
                self.told[key] = now[key]
        for key in self.told.keys() - now.keys():
            if await self._tell(key, f"over: {self.told[key]}"):
                del self.told[key]

    async def _conditions(self) -> AsyncIterator[tuple[str, str]]:
        for found in (*self._paths.look(time.monotonic()), *_queue(self.post), *self._backup()):
            yield found
        try:
            rows = await self.post.store.read(waiting)
            free = await self.post.store.free_space()
            hooks = await self.post.store.read(webhooks.everyone)
        except StoreError as error:
            yield "store", str(error)
            return
        for found in (*(each for row in rows for each in _judge(row)), *self._space(free)):
            yield found
        for hook in hooks:
            if hook.state == "paused":
                yield (
                    f"webhook {hook.id}",
                    f"the webhook {hook.id} is paused ({hook.reason}); its mail waits in the inbox",
                )

    def _space(self, free: FreeSpace | None) -> Iterator[tuple[str, str]]:
        if free is None:
            return
        self._room.look(time.monotonic(), free.bytes)
        if (left := self._room.ends_in_s()) < FULL_SOON_S:
            yield "space-soon", f"at the pace of the last day the store is full in {left / DAY_S:.1f} days"
        if free.bytes < self.floor_bytes:
            found, floor = free.bytes >> 20, self.floor_bytes >> 20
            yield "space", f"{found} MiB are free where the store is, and mail is refused below {floor} MiB"
        if free.age_s > UNTOLD_S:
            text = f"the store's host has not told its free space for {free.age_s:.0f} s; look at restante-space.timer there"
            yield "space-unknown", text

    def _backup(self) -> Iterator[tuple[str, str]]:
        """Without one a new host has as long as until one is too old."""
        limit, where = self.post.settings.backup.stale_after_s, self.post.settings.backups
        age = backup_age(self.post)
        if not limit or min(age, time.monotonic() - self.began if math.isinf(age) else age) <= limit:
            return
        newest = "there is none" if math.isinf(age) else f"the newest is {age / 3600:.0f} hours old"
        yield "backup", f"{newest} in {where}, where a backup is due at least every {limit / 3600:.0f} hours"

    async def _tell(self, key: str, text: str) -> bool:
        """Whether it was told; it is tried again at the next look when not."""
        log.warning("%s: %s", key, text)
        if not self.command:
            return True
        process = await asyncio.create_subprocess_exec(self.command, "message", key.partition(" ")[0], text)
        return await process.wait() == 0


def _queue(post: Post) -> Iterator[tuple[str, str]]:
    """Postfix's, as restante-queue.service saw it last."""
    if not (found := mta_queue(post)):
        return
    if (ago := time.time() - found["at"]) > UNSEEN_S:
        yield (
            "mta-queue",
            f"nobody has looked at Postfix's queue for {ago / 60:.0f} minutes; look at restante-queue.timer",
        )
    elif found["oldest_at"] and (oldest := time.time() - found["oldest_at"]) > OLDEST_S:
        count = sum(found["queues"].values())
        yield "mta-queue", f"{count} mails wait in Postfix's queue, the oldest for {oldest / 60:.0f} minutes"


def _judge(row: Waiting) -> Iterator[tuple[str, str]]:
    where = f"{row.inbox}, consumer {row.consumer}"
    if row.oldest_s > OLDEST_S:
        yield (
            f"oldest {where}",
            f"{row.unacknowledged} messages wait in {where}, the oldest for {row.oldest_s / 60:.0f} minutes",
        )
    if row.dead:
        yield f"dead {where}", f"{row.dead} dead letters in {where}: look at them, mend the cause, redrive"
