"""Run every benchmark; what this machine lacks for a part is named, and the part left out."""

from __future__ import annotations

import os

from bench import backlog, cluster, delay, fleet, hosts, idle, ingestion, sdk, sockets, stores

fleet.main()
for part in (ingestion, delay, backlog, idle, sdk):
    part.main()
if os.geteuid() == 0:
    hosts.main()
    sockets.main()
    cluster.main()
    stores.main()
else:
    print(
        "left out: deploy and verify, memory of a tunnel, the replicated store, the stores on real hosts; they need root"
    )
