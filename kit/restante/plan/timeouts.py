"""The chain: every timeout from agent to upstream, in order, and the inequality that each must satisfy."""

from __future__ import annotations

from collections.abc import Iterator

from restante.plan.derived import Rule, Values
from restante.plan.profiles import Middlebox
from restante.spec.model import Spec

MARGIN_S = 5  # what may pass between a timer and its effect on a busy host


def derive(spec: Spec, path: list[Middlebox], values: Values) -> list[Rule]:
    """Fill in every timeout; returns the chain in the order in which a byte meets it."""
    _heartbeat(spec, values)
    _path(path, values)
    _kernel(path, values)
    _edge(spec, path, values)
    return [*_path_rules(spec, path, values), *_edge_rules(values)]


def _heartbeat(spec: Spec, values: Values) -> None:
    beat, back, source = spec.heartbeat, spec.reconnect, "the mission's fixed figures (docs/explanation/timeouts.md)"
    interval = values.add("heartbeat.interval", beat.interval, "s", "The client pings on this fixed cadence.",
        risk="longer than an idle timeout of the path, and the flow is forgotten in silence", source=source, spec_key="heartbeat.interval")  # fmt: skip
    pong = values.add("heartbeat.pong_timeout", beat.pong_timeout, "s", "A pong that is later than this counts as missed.",
        risk="too short takes a slow path for a dead one", source=source, spec_key="heartbeat.pong_timeout")  # fmt: skip
    misses = values.add("heartbeat.misses", beat.misses, "pongs", "So many late pongs in a row and the connection is dead.",
        risk="one alone would cut on a single lost second", source=source, spec_key="heartbeat.misses")  # fmt: skip
    values.add("heartbeat.detection", misses * interval + pong, "s", "misses x interval + pong timeout, worst case on the fixed cadence.",
        risk="this long an agent can be blind", source="arithmetic", spec_key="heartbeat")  # fmt: skip
    values.add("heartbeat.server_silence", 3 * interval, "s", "The server drops a client it has heard no ping from for three intervals.",
        risk="half-open sockets pile up", source=source, spec_key="heartbeat.interval")  # fmt: skip
    values.add("reconnect.first", back.first, "s", "First reconnect delay; it doubles.",
        risk="0 hammers a server that just fell", source=source, spec_key="reconnect.first")  # fmt: skip
    values.add("reconnect.cap", back.cap, "s", "Longest reconnect delay.",
        risk="longer delays keep agents blind after a repair", source=source, spec_key="reconnect.cap")  # fmt: skip
    values.add("reconnect.jitter", back.jitter, "%", "Random part of every delay, so that clients do not come in step.",
        risk="without it all come back in the same second", source=source, spec_key="reconnect.jitter")  # fmt: skip
    values.add("reconcile.interval", spec.reconcile, "s", "A fetch over HTTP this often shows what the socket missed.",
        risk="never doing it makes a lost signal a lost message", source=source, spec_key="reconcile")  # fmt: skip


def _path(path: list[Middlebox], values: Values) -> None:
    ages = [hop.age_s for hop in path if hop.age_s]
    if ages:
        values.add("path.rotate_after", min(ages) * 9 // 10, "s", "90 % of the shortest age cap of the path: rotate before it cuts.",
            risk="at the cap the middlebox cuts, however busy the socket is", source=_who(path, "age_s", min(ages)), spec_key="path")  # fmt: skip


def _kernel(path: list[Middlebox], values: Values) -> None:
    segments = [hop.idle_s for hop in path if hop.idle_s and hop.rearmed_by == "segment"]
    idle = min([60, *(idle // 2 for idle in segments)])
    because = (
        "Half the shortest idle timeout that any segment re-arms, at most 60 s."
        if segments
        else "60 s: no hop of the path asks for less."
    )
    values.add("keepalive.idle", idle, "s", because,
        risk="the default of 7200 s outlives every NAT", source="Linux ip-sysctl: tcp_keepalive_time", spec_key="path")  # fmt: skip
    values.add("keepalive.interval", 10, "s", "Between two probes that nobody answers.",
        risk="longer keeps a dead peer's socket", source="Linux ip-sysctl: tcp_keepalive_intvl", spec_key="path")  # fmt: skip
    values.add("keepalive.probes", 3, "probes", "So many unanswered probes and the kernel reports the socket dead.",
        risk="1 takes a lost packet for a lost peer", source="Linux ip-sysctl: tcp_keepalive_probes", spec_key="path")  # fmt: skip
    values.add("kernel.retries2", 8, "retries", "Unacknowledged data is retried for about 100 s, the least that RFC 1122 allows.",
        risk="the default of 15 holds a half-open socket for 15 minutes", source="Linux ip-sysctl: tcp_retries2; RFC 1122 4.2.3.5", spec_key="path")  # fmt: skip


def _edge(spec: Spec, path: list[Middlebox], values: Values) -> None:
    idles = [hop.idle_s for hop in path if hop.idle_s]
    source = "nginx, ngx_http_proxy_module"
    for side in ("read", "send"):
        values.add(f"edge.socket_{side}_timeout", 3600, "s", "A socket may be silent for an hour; the heartbeat decides, not the proxy.",
            risk="the default of 60 s closes idle sockets (cause 3)", source=source, spec_key="edge.routes")  # fmt: skip
    hold = values.add("edge.longpoll_hold", max(1, min([25, *(idle - 2 * MARGIN_S for idle in idles)])), "s",
        "At most 25 s, and two margins below the shortest idle timeout of the path.",
        risk="a longer hold is cut before it answers", source="protocol: wait_seconds 0-25", spec_key="path")  # fmt: skip
    values.add("edge.longpoll_read_timeout", hold + 35, "s", "The hold and 35 s for the answer.",
        risk="shorter answers 504 while mail is waiting", source=source, spec_key="path")  # fmt: skip
    values.add("edge.http_read_timeout", 60, "s", "nginx's own default: a plain request answers within a minute.",
        risk="shorter cuts slow answers", source=source, spec_key="edge.routes")  # fmt: skip
    values.add("edge.connect_timeout", 5, "s", "An upstream of one's own network answers a SYN in less.",
        risk="the default of 60 s waits a minute for a dead upstream", source=source, spec_key="edge.routes")  # fmt: skip
    keepalive = values.add("edge.upstream_keepalive_timeout", 60, "s", "How long nginx keeps an idle connection to an upstream.",
        risk="above the upstream's own, a POST meets a closed connection: 502", source="nginx, ngx_http_upstream_module", spec_key="edge.routes")  # fmt: skip
    values.add("upstream.keepalive_timeout", keepalive + 15, "s", "What the upstream server's own keep-alive must be at least.",
        risk="below nginx's, a POST meets a closed connection: 502", source="arithmetic", spec_key="edge.routes")  # fmt: skip
    proxies = [hop.idle_s for hop in path if hop.idle_s and hop.rearmed_by != "segment"]
    values.add("edge.client_keepalive_timeout", max([75, *(idle + 15 for idle in proxies)]), "s",
        "75 s, and above the idle timeout of every proxy in front, so that it is never the edge that closes first.",
        risk="a proxy in front re-uses a connection that is being closed: 502", source="nginx, keepalive_timeout", spec_key="path")  # fmt: skip
    values.add("edge.drain", spec.edge.drain if spec.edge else 30, "s", "Old workers keep their sockets this long after a reload.",
        risk="without it old workers stay for ever, and every reload adds some", source="nginx, worker_shutdown_timeout", spec_key="edge.drain")  # fmt: skip
    grace = values.add("edge.stop_grace", 2, "s", "Requests in progress get this long when nginx stops. Nobody new is let in meanwhile; agents are back within seconds of the cut.",
        risk="with the drain of a reload here, a restart refuses every connection for as long", source="Debian nginx.service: ExecStop --retry QUIT/5", spec_key="edge.routes")  # fmt: skip
    values.add("edge.stop_timeout", grace + 13, "s", "The grace, 5 s for a fast shutdown, and some for systemd.",
        risk="a kill leaves the pid file and no word in the log", source="arithmetic", spec_key="edge.routes")  # fmt: skip


def _path_rules(spec: Spec, path: list[Middlebox], values: Values) -> Iterator[Rule]:
    gap = values["heartbeat.interval"] + values["heartbeat.pong_timeout"]
    beats = spec.heartbeat.kind == "application"
    for hop in path:
        if hop.idle_s and beats:
            yield Rule(f"heartbeat-below-{hop.id}", "heartbeat.interval + heartbeat.pong_timeout", gap, f"the idle timeout of {hop.id}", hop.idle_s,
                f"it forgets a flow without {_what(hop)} for so long", f"set heartbeat.interval to {_most(hop.idle_s, values)}s or less", "heartbeat.interval")  # fmt: skip
        if hop.idle_s and (hop.rearmed_by == "segment" or not beats):
            usable = hop.idle_s if hop.rearmed_by == "segment" else 0
            remedy = "lower keepalive.idle by an override" if usable else "use heartbeat.kind: application"
            why = (
                "probes must come before it forgets"
                if usable
                else f"TCP keepalive never counts on {hop.id}, which wants {_what(hop)}"
            )
            yield Rule(f"keepalive-below-{hop.id}", "keepalive.idle + keepalive.interval", values["keepalive.idle"] + values["keepalive.interval"],
                f"what TCP keepalive can hold open on {hop.id}", usable, why, remedy, "heartbeat.kind" if not usable else "path")  # fmt: skip
        if hop.idle_s:
            yield Rule(f"longpoll-below-{hop.id}", "edge.longpoll_hold + margin", values["edge.longpoll_hold"] + MARGIN_S,
                f"the idle timeout of {hop.id}", hop.idle_s, "the answer must come before it forgets", "choose a path with a longer idle timeout", "path")  # fmt: skip
        if hop.age_s:
            yield Rule(f"detection-below-age-{hop.id}", "heartbeat.detection", values["heartbeat.detection"], f"the age cap of {hop.id}", hop.age_s,
                "it cuts before a silent drop could be noticed", f"raise it on the box and write {{id: {hop.id}, age: 1h}}", "path")  # fmt: skip
    yield Rule("detection-within-promise", "heartbeat.detection (misses x interval + pong timeout)", values["heartbeat.detection"],
        "heartbeat.detect_within", spec.heartbeat.detect_within, "so long is a silent drop allowed to go unnoticed",
        "lower heartbeat.interval, or raise heartbeat.detect_within knowingly", "heartbeat", strict=False)  # fmt: skip
    yield Rule("pong-below-interval", "heartbeat.pong_timeout", values["heartbeat.pong_timeout"], "heartbeat.interval", values["heartbeat.interval"],
        "a pong must be judged before the next ping leaves", "lower heartbeat.pong_timeout", "heartbeat.pong_timeout")  # fmt: skip


def _edge_rules(values: Values) -> Iterator[Rule]:
    pairs = [
        ("edge-above-heartbeat", "three heartbeats", 3 * values["heartbeat.interval"], "edge.socket_read_timeout", "the proxy must not decide before the heartbeat does"),
        ("send-above-heartbeat", "three heartbeats", 3 * values["heartbeat.interval"], "edge.socket_send_timeout", "the proxy must not decide before the heartbeat does"),
        ("longpoll-below-proxy", "edge.longpoll_hold + margin", values["edge.longpoll_hold"] + MARGIN_S, "edge.longpoll_read_timeout", "nginx must wait for the answer"),
        ("upstream-keepalive", "edge.upstream_keepalive_timeout", values["edge.upstream_keepalive_timeout"], "upstream.keepalive_timeout", "the side that re-uses must close first"),
        ("grace-below-stop", "edge.stop_grace + 5", values["edge.stop_grace"] + 5, "edge.stop_timeout", "systemd must not kill while requests are finished"),
    ]  # fmt: skip
    for name, left, left_s, right, because in pairs:
        yield Rule(name, left, left_s, right, values[right], because, f"take back or change the override of {right}", f"overrides.values.{right}")  # fmt: skip


def _most(idle_s: int, values: Values) -> int:
    return max(1, idle_s - values["heartbeat.pong_timeout"] - 1)


def _what(hop: Middlebox) -> str:
    return {
        "segment": "any TCP segment",
        "byte": "payload bytes",
        "from_origin": "payload bytes from the server",
    }[hop.rearmed_by]


def _who(path: list[Middlebox], attribute: str, value: int) -> str:
    return next(f"{hop.id}: {hop.source}" for hop in path if getattr(hop, attribute) == value)
