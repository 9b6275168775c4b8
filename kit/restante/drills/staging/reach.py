"""Asked on the controller before anything is broken: is the way of the agents, and of the senders, open from here?

Arguments: the domain of the edges, and the addresses of the post hosts. Standard output: a sentence for each way that is shut.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator

# postscreen makes who comes for the first time wait for 6 s; after that it knows him (postconf(5), postscreen_greet_ttl).
PATIENCE_S = 15


def edge(domain: str) -> Iterator[str]:
    try:
        with socket.create_connection((domain, 443), PATIENCE_S) as plain:
            ssl.create_default_context().wrap_socket(plain, server_hostname=domain).close()
    except socket.gaierror:
        yield (
            f"{domain} does not resolve here, and the drill's agent goes through the edges by that name: "
            "publish what `restante dns` prints, or put it into /etc/hosts"
        )
    except ssl.SSLCertVerificationError as error:
        yield (
            f"the certificate of {domain} is not believed here ({error.verify_message}); "
            "when its authority is your own, name its file in SSL_CERT_FILE"
        )
    except OSError as error:
        yield f"{domain}, port 443, cannot be reached from here: {error}"


def post(address: str, port: int = 25) -> Iterator[str]:
    try:
        with socket.create_connection((address, port), PATIENCE_S) as smtp:
            greeting = smtp.makefile("rb").readline().decode(errors="replace").strip()
    except OSError as error:
        yield (
            f"{address}, port {port}, cannot be reached from here: {error}; many networks let no mail out: "
            "run this where a mail server could stand"
        )
        return
    if not greeting.startswith("220"):
        yield f"{address}, port {port}, does not greet as a mail server does: {greeting or 'it closed the connection'}"


def main(domain: str, *addresses: str) -> None:
    for sentence in (*edge(domain), *(said for address in addresses for said in post(address))):
        print(sentence)


if __name__ == "__main__":
    main(*sys.argv[1:])
