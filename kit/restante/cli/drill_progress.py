"""What `restante drill run` says while it runs."""

from __future__ import annotations

import os
import sys
import threading
import time

import click

from restante.drills import results
from restante.drills.run import Order

REFRESH_S = 1.0
WIDTH = 80  # of a terminal that does not know its own


class Progress:
    """Lines to standard error, from any thread; on a terminal also one that shows what plays at this moment."""

    def __init__(self, total: int = 0) -> None:
        self.total, self._over, self._began = total, 0, time.monotonic()
        self._playing: dict[str, float] = {}
        self._lock, self._end = threading.RLock(), threading.Event()
        self._live = sys.stderr.isatty()
        self._refreshing = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> Progress:
        if self._live:
            self._refreshing.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The last line is taken away when nobody can write it again."""
        self._end.set()
        if self._live:
            self._refreshing.join()
        self._line("")

    def said(self, text: str) -> None:
        self._print(text)

    def plays(self, order: Order) -> None:
        with self._lock:
            self._playing[order.name] = time.monotonic()
        if not self._live:
            self._print(f"{order.name}: plays")

    def over(self, order: Order) -> None:
        verdict = results.Result.of(order.path).verdict
        with self._lock:
            self._over += 1
            began = self._playing.pop(order.name, time.monotonic())
            place = f"[{self._over}/{self.total}]"
            self._print(f"{place} {order.name}: {verdict} ({time.monotonic() - began:.0f} s)")

    def _print(self, text: str) -> None:
        with self._lock:  # or the live line comes between
            self._line("")
            click.echo(f"{time.monotonic() - self._began:6.1f} s  {text}", err=True)

    def _line(self, text: str) -> None:
        """Over the last one."""
        if self._live:
            width = (os.get_terminal_size(2).columns or WIDTH) - 1
            click.echo(f"\r\033[K{text[:width]}", nl=False, err=True)

    def _refresh(self) -> None:
        while not self._end.wait(REFRESH_S):
            with self._lock:
                now = time.monotonic()
                playing = [f"{name} {now - began:.0f} s" for name, began in self._playing.items()]
                if playing:
                    self._line("playing: " + ", ".join(playing))
