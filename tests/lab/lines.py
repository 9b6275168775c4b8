"""Runs inside the lab: the lines of so many agents in one loop; prints how many stand, each time that this changes.

lines.py INBOX TOKEN COUNT
"""

from __future__ import annotations

import asyncio
import sys

from restante.client.figures import Figures
from restante.client.found import Found
from restante.client.http import Http
from restante.client.line import Line
from restante.client.settings import Settings
from restante.client.subscription import Subscription

LOOK_S = 0.2


def line(inbox: str, token: str) -> Line:
    settings, figures = Settings("https://mail.example.org", inbox, token), Figures()
    http = Http(settings.url, settings.token, 10)
    return Line(http, settings, Subscription(inbox, figures, Found(figures)), figures)


async def main(inbox: str, token: str, count: int) -> None:
    lines = [line(inbox, token) for _ in range(count)]
    tasks = [asyncio.ensure_future(each._run()) for each in lines]
    told = -1
    while (up := sum(each.up for each in lines)) or not any(task.done() for task in tasks):
        if up != told:
            print(told := up, flush=True)
        await asyncio.sleep(LOOK_S)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
