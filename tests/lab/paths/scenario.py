"""Runs inside namespaces of its own, as root: an agent, a NAT router, a post office; a fault; what was seen, as one JSON line.

unshare --mount --net --pid --fork --mount-proc --kill-child python scenario.py FAULT
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from edge import Edge
from network import NAME, Network, inside
from scene import Scene
from stories import STORIES, Stage


def main(fault: str) -> None:
    network = Network(forgets=fault.startswith("nat-"), resets=fault == "nat-reset", slow=fault.startswith("slow-"))
    with tempfile.TemporaryDirectory(dir="/run") as made:
        folder = Path(made)
        edge, url, environment = None, f"http://{NAME}:8025", {}
        if fault.startswith("proxy-"):
            edge, url = Edge(folder, inside("office")), f"https://{NAME}"
            edge.certify("first")
            environment["SSL_CERT_FILE"] = str(edge.trusted)
            edge.start()
        scene = Scene(folder, url, environment)
        scene.until("up")
        scene.send("before")
        scene.handled("before")
        print("begun", flush=True)
        found = STORIES[fault](Stage(network, scene, edge))
        scene.end()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
