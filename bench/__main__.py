"""Run every benchmark; those of the lab need root and are named when they are left out."""

from __future__ import annotations

import os

from bench import fleet, hosts, post, sdk, sockets

fleet.main()
post.main()
sdk.main()
if os.geteuid() == 0:
    hosts.main()
    sockets.main()
else:
    print("left out without root: bench.hosts (deploy and verify), bench.sockets (memory of a tunnel)")
