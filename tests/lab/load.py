"""Runs inside the lab: numbered mails over SMTP with retries, as any sender has them; prints the numbers that were answered 250.

load.py ADDRESS RECIPIENT[,RECIPIENT] FIRST COUNT [PAUSE]: seconds between two. No further one once standard input is closed.
Exit status 1 when one had no 250 within LIMIT_S of its first try.
"""

from __future__ import annotations

import smtplib
import sys
import threading
import time

address, recipient, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pause = float(sys.argv[5]) if len(sys.argv) > 5 else 0
LIMIT_S = 120
stopped = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()


def accepted(number: int) -> bool:
    head = f"From: a@sender.invalid\r\nTo: {recipient}\r\nSubject: mail {number}\r\nMessage-ID: <{number}@sender.invalid>\r\n"
    mail = f"{head}\r\n{'x' * 3000}\r\n"
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        try:
            with smtplib.SMTP(address, 25, local_hostname="sender.invalid", timeout=5) as smtp:
                smtp.sendmail("a@sender.invalid", recipient.split(","), mail)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.2)
        else:
            return True
    return False


for number in range(first, first + count):
    if stopped.is_set():
        break
    if not accepted(number):
        sys.exit(1)
    print(number, flush=True)
    stopped.wait(pause)
