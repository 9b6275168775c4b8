"""What the operator writes. Every default stands here once, with the sentence that explains it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from restante.spec.hosts import Host, Tier
from restante.spec.mail import Inboxes, Smtp, Store, Webhooks
from restante.spec.section import Model
from restante.spec.values import (
    Argv,
    Domain,
    Duration,
    EnvName,
    FloatingAddress,
    HostPath,
    Label,
    Line,
    Listen,
    Mailbox,
    Network,
    Origin,
    Percent,
    Port,
    Reason,
    Reference,
    RoutePath,
    Size,
    TlsFile,
    UnitName,
    UserName,
    refuse,
)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


_ONE_OR_MANY = BeforeValidator(_one_or_many, json_schema_input_type=str | tuple[str, ...])


def _hop(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Hop(Model):
    """A middlebox of the operator's own, in the words of paths.yml."""

    id: Label
    """Its name: one of its own (then idle and rearmed_by are needed), or a known one whose numbers are changed here."""
    idle: Duration | None = None
    """Seconds without what re-arms its timer until it forgets the flow."""
    age: Duration | None = None
    """Age at which it cuts a connection however busy."""
    rearmed_by: Literal["segment", "byte", "from_origin"] | None = None
    """segment: any TCP segment; byte: payload either way; from_origin: payload from server to client only."""
    on_expiry: Literal["silent", "rst_on_next", "fin"] | None = None
    """What the ends see when it has forgotten."""
    source: Line | None = None
    """Where the numbers come from."""


class Heartbeat(Model):
    """Proof that the peer lives, at the level of the application."""

    kind: Literal["application", "keepalive"] = "application"
    """application: the client pings; keepalive: it cannot, and only the kernel's TCP keepalive holds the path open."""
    interval: Duration = 15
    """Between two pings; 15-20 s is right behind NAT, and it must stay below the shortest idle timeout of the path."""
    pong_timeout: Duration = 5
    """How long a pong may take."""
    misses: Annotated[int, Field(ge=1, le=5, strict=True)] = 2
    """Late pongs in a row until the connection counts as dead."""
    detect_within: Duration = 40
    """The promised bound on noticing a silent drop."""


class Reconnect(Model):
    """How a client comes back."""

    first: Duration = 1
    """The first delay; it doubles."""
    cap: Duration = 60
    """The longest delay."""
    jitter: Percent = 30
    """Random part added to every delay."""

    @model_validator(mode="after")
    def _grows(self) -> Reconnect:
        if self.first > self.cap:
            raise refuse(f"first is {self.first} s and above cap, {self.cap} s; a delay grows from first to cap")
        return self


class Route(Model):
    """One path of the edge."""

    path: RoutePath
    """Prefix of the URL path."""
    kind: Literal["websocket", "sse", "longpoll", "http"]
    """What flows over it: decides timeouts, buffering and headers."""
    upstreams: Annotated[tuple[str, ...], Field(min_length=1), _ONE_OR_MANY]
    """Where it goes: HOST:PORT with a host of this spec, ADDRESS:PORT, or unix:/run/....sock. Several balance."""


class Edge(Model):
    """The nginx that faces the agents."""

    routes: tuple[Route, ...] = ()
    """Which path goes where; with post hosts the post office's own (/v1) are there without being written."""
    tls_profile: Literal["modern", "intermediate"] = "intermediate"
    """TLS guideline: modern (1.3 only) or intermediate (1.2 and 1.3)."""
    token_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "Authorization"  # noqa: S105
    """The header whose value tells clients apart for limits: never the address, many agents share one behind a NAT."""
    drain: Duration = 30
    """How long a reload or stop lets established sockets live on."""
    floating: Annotated[tuple[FloatingAddress, ...], _ONE_OR_MANY] = ()
    """An address, with its network's prefix, that one of the edges holds at a time; a second one may be of the other family."""


class Limits(Model):
    """Resource limits of a service."""

    memory: Size | None = None
    """MemoryMax."""
    tasks: Annotated[int | None, Field(ge=1, strict=True)] = None
    """TasksMax."""
    files: Annotated[int, Field(ge=64, strict=True)] = 4096
    """LimitNOFILE."""


class Hardening(Model):
    """How tightly systemd shuts the service in."""

    level: Literal["strict", "relaxed"] = "strict"
    """strict keeps the exposure score at 2.5 or below; relaxed leaves namespaces, JIT and the home directories open."""
    because: Reason | None = None
    """Why it is relaxed; needed then."""

    @model_validator(mode="after")
    def _says_why(self) -> Hardening:
        if self.level == "relaxed" and not self.because:
            raise refuse("hardening is relaxed without a reason; add because: and say in one line why")
        return self


class Agent(Model):
    """An inbox that a program handles with the SDK, or with `restante agent run`."""

    inbox: Mailbox
    """The inbox."""
    token: Reference
    """A token of the post office that may receive from it; the program finds it as the credential restante-token."""
    url: Origin | None = None
    """The post office; left out: https:// and the spec's domain."""


class Service(Model):
    """A program of the operator's own that systemd supervises."""

    host: Annotated[tuple[Label, ...], Field(min_length=1), _ONE_OR_MANY]
    """The host, or hosts, that it runs on."""
    exec: Argv
    """Its command line; the program is an absolute path."""
    user: UserName
    """Who it runs as; a system user that is created when absent."""
    packages: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")], ...], Field()] = ()
    """Debian packages it needs, from the host's own sources."""
    files: dict[HostPath, Annotated[str, Field(pattern=r"^file:[A-Za-z0-9._@+/-]+$")]] = {}
    """Public files that the deploy carries: path below /opt -> file:PATH relative to the spec."""
    environment: dict[EnvName, Line] = {}
    """Its environment; no secrets."""
    credentials: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")], Reference] = {}
    """Secrets it finds as files in $CREDENTIALS_DIRECTORY."""
    listens: tuple[Listen, ...] = ()
    """TCP ports, or unix sockets below /run/NAME, on which it accepts connections when it is ready."""
    readiness: Literal["notify", "started"] = "started"
    """notify: it tells systemd when it is ready (sd_notify); started: it is ready once it runs."""
    watchdog: Duration | None = None
    """It promises to send WATCHDOG=1 this often; systemd restarts it when it does not. Needs readiness: notify."""
    stop_timeout: Duration = 30
    """How long it may take to stop."""
    limits: Limits = Limits()
    """Resource limits."""
    hardening: Hardening = Hardening()
    """How tightly it is shut in."""
    after: tuple[UnitName, ...] = ()
    """Units it starts after."""
    agent: Agent | None = None
    """It handles an inbox: readiness, watchdog, token and worker name follow; /usr/bin/python3 gets the SDK of this kit."""

    @model_validator(mode="after")
    def _watchdog_needs_notify(self) -> Service:
        if self.watchdog and self.readiness != "notify" and not self.agent:
            raise refuse("watchdog is set but readiness is 'started': a program that never notifies would be killed; "
                         "set readiness: notify, or leave watchdog out")  # fmt: skip
        return self


class Tls(Model):
    """The certificate of edge and SMTP. ACME will be a third form here."""

    lab: bool = False
    """Take one from the lab's own authority; only `--lab` can deploy it."""
    certificate: TlsFile | None = None
    """The chain, leaf first, PEM: file:PATH is carried to the host, host:/PATH is there already."""
    key: TlsFile | None = None
    """Its private key."""

    @model_validator(mode="after")
    def _one_form(self) -> Tls:
        given = [name for name in ("certificate", "key") if getattr(self, name)]
        if self.lab and given:
            raise refuse("lab: true and files exclude each other; keep one of them")
        if not self.lab and len(given) < 2:
            raise refuse("give certificate and key (file:PATH or host:/PATH), or lab: true for the lab's own authority")
        if given and str(self.certificate).startswith("host:") != str(self.key).startswith("host:"):
            raise refuse("certificate and key come from different places; give both as file: or both as host:")
        return self


class Allow(Model):
    """A port of the operator's own that the firewall leaves open."""

    port: Port
    """TCP port."""
    source: Network | None = None
    """From where; everywhere when left out."""
    because: Reason
    """Why it is open."""


class Firewall(Model):
    """One nftables table of our own; others are never touched."""

    enabled: bool = False
    """Off by default: a host that exists has its own rules."""
    ssh_from: tuple[Network, ...] = ()
    """Networks that may reach ssh; everywhere when empty."""
    allow: tuple[Allow, ...] = ()
    """Further open ports."""


class Alert(Model):
    """Who is told when something needs a person."""

    command: Argv | None = None
    """A command on the host; the message is JSON on its standard input."""
    webhook: Reference | None = None
    """A URL that takes the message as JSON by POST; a reference, since such URLs are secrets."""
    beat: Reference | None = None
    """A URL that is fetched every five minutes while the host lives: a dead-man's beat."""

    @model_validator(mode="after")
    def _one(self) -> Alert:
        if (self.command is None) == (self.webhook is None):
            raise refuse("give either command or webhook, the one that is told")
        return self


class Value(Model):
    """A derived number, overridden."""

    value: Annotated[int, Field(ge=1, le=100_000_000, strict=True)]
    """The number, in the unit that `restante explain` shows for it."""
    because: Reason
    """Why the derived one does not do."""


class Snippet(Model):
    """Directives of the operator's own for nginx."""

    context: Annotated[str, Field(pattern=r"^(http|server|location:/[A-Za-z0-9._~/-]*)$")]
    """http, server, or location:PATH of a route."""
    directives: str
    """Whole directives; braces must balance."""
    because: Reason
    """Why."""


class Sysctl(Model):
    """A kernel parameter of the operator's own."""

    value: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value, json_schema_input_type=str | int),
                     Field(pattern=r"^[A-Za-z0-9_./:+-]+( [A-Za-z0-9_./:+-]+)*$")]  # fmt: skip
    """What it is set to."""
    because: Reason
    """Why."""


class Overrides(Model):
    """What the plan would decide otherwise, each with its reason."""

    values: dict[str, Value] = {}
    """Derived values by their key, as `restante explain` shows it."""
    nginx: tuple[Snippet, ...] = ()
    """nginx directives by context."""
    sysctl: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+([./][A-Za-z0-9_-]+)+$")], Sysctl] = {}
    """Kernel parameters."""


class Waiver(Model):
    """A check that may fail, with its reason."""

    check: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    """The check's id, as `restante verify` prints it."""
    host: Label | None = None
    """On this host only."""
    because: Reason
    """Why it may fail."""


class Spec(Model):
    """A Restante spec: what runs where, how many agents, what stands between them and the edge."""

    restante: Literal[1]
    """Version of the spec's format; first key."""
    domain: Domain
    """The name under which agents reach the edge."""
    hosts: Annotated[dict[Label, Host], Field(min_length=1)]
    """Every host, by name."""
    agents: Annotated[int, Field(ge=1, le=5_000_000, strict=True)]
    """How many concurrent connections to size for."""
    path: tuple[Annotated[Hop, BeforeValidator(_hop, json_schema_input_type=Label | Hop)], ...] = ()
    """The middleboxes between agents and edge, in order: ids of paths.yml or entries of the operator's own."""
    heartbeat: Heartbeat = Heartbeat()
    """Proof that the peer lives."""
    reconnect: Reconnect = Reconnect()
    """How a client comes back."""
    reconcile: Duration = 300
    """How often a client compares what the socket brought with what is there."""
    edge: Edge | None = None
    """The nginx that faces the agents; needed when a host has the tier edge and no host the tier post."""
    cors: tuple[Origin, ...] = ()
    """Origins whose pages may use the API from a browser."""
    inboxes: Inboxes | None = None
    """Whose mail is taken; needed when a host has the tier post."""
    store: Store = Store()
    """Where mail is kept."""
    outage: Duration = 5 * 86400
    """How long the store, or an agent, may be away without a mail being lost or bounced."""
    webhooks: Webhooks = Webhooks()
    """Where webhooks may lead."""
    smtp: Smtp = Smtp()
    """The SMTP listener."""
    services: dict[Label, Service] = {}
    """The operator's own programs."""
    tls: Tls | None = None
    """The certificate of edge and SMTP; needed when a host has the tier edge or post."""
    firewall: Firewall = Firewall()
    """What is open."""
    alert: Alert | None = None
    """Who is told when something needs a person."""
    drills: Literal["refused", "allowed"] = "refused"
    """allowed: these are staging hosts, and `restante drill run --staging` may break them; no mail is lost by it, but all of it waits."""
    overrides: Overrides = Overrides()
    """What the plan would decide otherwise."""
    waivers: tuple[Waiver, ...] = ()
    """Checks that may fail."""

    def hosts_of(self, tier: Tier) -> list[str]:
        return [name for name, host in self.hosts.items() if tier in host.tiers]
