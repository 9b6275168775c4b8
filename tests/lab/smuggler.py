"""Runs inside the lab: mails byte for byte as they are given, and what Postfix says to each from its end on.

smuggler.py ADDRESS SENDER RECIPIENT. Standard input: {name: [verb, content]}, where the verb is DATA or BDAT and a letter a byte;
what ends a DATA is part of its content. Prints {name: replies}.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from typing import BinaryIO

address, sender, recipient = sys.argv[1:]


def reply(file: BinaryIO) -> str:
    """The last line of one, or nothing when the other end is gone."""
    while (line := file.readline())[3:4] == b"-":
        pass
    return line.decode().strip()


def said(verb: str, content: bytes) -> list[str]:
    with socket.create_connection((address, 25), 20) as connection, connection.makefile("rwb", 0) as file:
        reply(file)
        for command in ("EHLO client.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"):
            file.write(f"{command}\r\n".encode())
            reply(file)
        if verb == "DATA":
            file.write(b"DATA\r\n")
            reply(file)
            connection.sendall(content)
        else:
            connection.sendall(b"BDAT %d LAST\r\n" % len(content) + content)
        replies = [reply(file)]
        with contextlib.suppress(OSError):  # it may have hung up
            file.write(b"QUIT\r\n")
            while line := reply(file):
                replies.append(line)
    return replies


mails = json.load(sys.stdin)
print(json.dumps({name: said(verb, content.encode("latin-1")) for name, (verb, content) in mails.items()}))
