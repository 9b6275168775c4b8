"""What `restante verify` shows: failures first, then a table by cause and by host; the same as a page."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any

Row = dict[str, Any]

CAUSES = {
    1: "the path forgets an idle flow",
    2: "no application heartbeat",
    3: "the proxy's own timeout",
    4: "certificate expired or mismatched",
    5: "the server's own timeouts and state",
    6: "half-open TCP, stalled programs",
    7: "nothing durable behind the socket",
}
_SIGNS = {"passed": "ok", "failed": "FAILED", "waived": "waived"}


def table(rows: list[Row]) -> str:
    hosts = sorted({row["host"] for row in rows})
    lines = [text for row in rows if row["outcome"] == "failed" for text in _failure(row)]
    lines += [f"waived: {row['id']} on {row['host']}: {row['because']}" for row in rows if row["outcome"] == "waived"]
    widths = [max(len("passed 00"), len(host)) for host in hosts]
    for cause, title in CAUSES.items():
        of_cause = [row for row in rows if row["cause"] == cause]
        if not of_cause:
            continue
        header = "  ".join(host.ljust(width) for host, width in zip(hosts, widths, strict=True))
        lines += ["", f"{f'Cause {cause}: {title}':<48}  {header}".rstrip()]
        for check in dict.fromkeys(row["id"] for row in of_cause):
            cells = [_cell(of_cause, check, host).ljust(width) for host, width in zip(hosts, widths, strict=True)]
            lines.append(f"  {check:<46}  {'  '.join(cells)}".rstrip())
    return "\n".join([*lines, "", summary(rows)]).lstrip("\n")


def summary(rows: list[Row]) -> str:
    count = Counter(row["outcome"] for row in rows)
    hosts = len({row["host"] for row in rows})
    waived = f", {count['waived']} waived" if count["waived"] else ""
    return f"{len(rows)} checks on {hosts} hosts: {count['passed']} passed, {count['failed']} failed{waived}"


def _cell(rows: list[Row], check: str, host: str) -> str:
    found = [_SIGNS[row["outcome"]] for row in rows if (row["id"], row["host"]) == (check, host)]
    return found[0] if found else "-"


def _failure(row: Row) -> list[str]:
    lines = [f"FAILED {row['id']} on {row['host']} (cause {row['cause']}, spec key {row['key']})"]
    lines += [f"  expected  {row['expected']}", f"  found     {row['found']}"]
    return lines + [f"  | {line}" for line in row.get("journal", "").splitlines()]


def page(rows: list[Row], title: str) -> str:
    """One HTML page without scripts or other files."""
    body = "".join(
        _page_row(row) for row in sorted(rows, key=lambda row: (row["outcome"] != "failed", row["cause"], row["id"]))
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>restante verify: {html.escape(title)}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1d2021; }}
table {{ border-collapse: collapse; width: 100%; }} th, td {{ text-align: left; padding: .35rem .7rem; vertical-align: top; }}
th {{ border-bottom: 2px solid #1d2021; }} td {{ border-bottom: 1px solid #d5d8dc; }}
.passed {{ color: #1e7d34; }} .failed {{ color: #b3261e; font-weight: 600; }} .waived {{ color: #8a6d00; }}
pre {{ margin: .3rem 0 0; white-space: pre-wrap; font-size: 12px; }}
</style></head><body><h1>{html.escape(title)}</h1><p>{html.escape(summary(rows))}</p>
<table><tr><th>Check</th><th>Cause</th><th>Host</th><th>Outcome</th><th>Spec key, expected and found</th></tr>
{body}</table></body></html>
"""


def _page_row(row: Row) -> str:
    detail = html.escape(row["key"])
    if row["outcome"] != "passed":
        detail += f"<pre>expected {html.escape(row['expected'])}\nfound    {html.escape(row['found'])}\n"
        detail += f"{html.escape(row.get('because') or row.get('journal') or '')}</pre>"
    cause = f"{row['cause']}: {html.escape(CAUSES[row['cause']])}"
    cells = f"<td>{html.escape(row['id'])}</td><td>{cause}</td><td>{html.escape(row['host'])}</td>"
    return f'<tr>{cells}<td class="{row["outcome"]}">{_SIGNS[row["outcome"]]}</td><td>{detail}</td></tr>\n'
