"""`restante drill`: break real hosts in every way we know, beside stacks that suffer, and count."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from restante.checks.bundle import Bundle
from restante.cli.drill_progress import Progress
from restante.cli.options import json_option
from restante.cli.session import bundle_at, lab_for, plan_for, ways
from restante.drills import report, results
from restante.drills.lab_run import Play
from restante.drills.run import Order
from restante.drills.scenario import Scenario
from restante.drills.scenarios import SCENARIOS
from restante.drills.scenarios.staging import SCENARIOS as STAGING
from restante.drills.staging import run as staging_run
from restante.drills.staging.hosts import Hosts, permitted
from restante.errors import FoundError, InputError
from restante.lab.machine import labs_directory
from restante.lab.probe import probe

FOLDER = "build/drill"
JOBS = 5  # five hosts each; what plays waits for most of its time
LONG_SEEDS = (1, 2, 3)
folder_option = click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default=True,
    help="Where histories and the report are.",
)  # fmt: skip


@click.group("drill")
def command() -> None:
    """Show each cause of silence on real hosts: to a naive stack, to common practice, and to this kit, at the same moment.

    Needs root on Debian or Ubuntu, as `restante lab` does. Nothing of it reaches the network, unless `run --staging` names hosts that
    a spec allows to be broken.
    """


@command.command("list")
@click.option("--staging", is_flag=True, help="Those for staging hosts.")
@json_option
def list_(staging: bool, as_json: bool) -> None:
    """Name every scenario."""
    known = STAGING if staging else SCENARIOS
    if as_json:
        click.echo(
            json.dumps([{"name": each.name, "cause": each.cause, "about": each.about} for each in known], indent=2)
        )
        return
    width = max(len(each.name) for each in known)
    for each in known:
        click.echo(f"{each.cause:>2}  {each.name:<{width}}  {each.about}")


@command.command("run")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    help="What chance decides follows from it; may be repeated.",
)
@click.option("--quick", is_flag=True, help="Short clocks and one seed: all scenarios in less than ten minutes.")
@click.option(
    "--jobs", default=JOBS, show_default=True, type=click.IntRange(1, 20), help="How many scenarios play at a time."
)
@click.option(
    "--staging",
    metavar="SPEC",
    type=click.Path(path_type=Path),
    help="Break the hosts of this spec, which must allow it, and no lab's; one scenario at a time.",
)
@click.option("--lab", is_flag=True, help="With --staging: the hosts are those of `restante lab up`.")
@folder_option
@json_option
def run(
    *, names: tuple[str, ...], seeds: tuple[int, ...], quick: bool, jobs: int, staging: Path | None, lab: bool, folder: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Play the scenarios, all of them unless NAMEs are given, and judge them.

    Exit status: 0 every scenario holds, 1 one does not, 2 the input is wrong.
    """
    if lab and not staging:
        raise InputError(
            "--lab says where the hosts of --staging SPEC are; without --staging every scenario has a lab of its own"
        )
    chosen = _chosen(names, STAGING if staging else SCENARIOS)
    # SIGINT too: what a script starts in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    turns = seeds or (LONG_SEEDS[:1] if quick else LONG_SEEDS)
    if staging:
        with _staging_hosts(staging, lab=lab) as hosts, Progress() as progress:
            fit = staging_run.fitting(hosts, chosen, progress, named=bool(names))
            where = f" --staging {staging}{' --lab' if lab else ''}"
            orders = [Order(each, seed, quick, folder, where) for seed in turns for each in fit]
            _clear(folder)
            progress.total = len(orders)
            staging_run.play(orders, hosts, progress)
    else:
        probe(labs_directory())
        _clear(folder)
        orders = [Order(each, seed, quick, folder) for seed in turns for each in chosen]
        with tempfile.TemporaryDirectory(prefix="restante-drill-") as work, Progress(len(orders)) as progress:
            Play(orders, jobs, progress).run(Path(work))
    _tell(results.load([order.path for order in orders]), folder, as_json=as_json)


@contextmanager
def _staging_hosts(spec: Path, *, lab: bool) -> Iterator[Hosts]:
    """Those of a spec that allows it. Raises InputError for one that does not."""
    found = plan_for(spec).spec
    permitted(spec, found)
    with bundle_at(spec, None) as folder, tempfile.TemporaryDirectory(prefix="restante-drill-") as scratch:
        bundle, machines = Bundle.read(folder), lab_for(spec)[0] if lab else None
        reached = ways(spec, bundle, Path(scratch), lab=lab)
        prefix = machines.prefix() if machines else []
        yield Hosts(
            found, bundle, reached, prefix, {"SSL_CERT_FILE": f"{machines.authority}/ca.pem"} if machines else {}
        )


@command.command("judge")
@click.argument(
    "histories", nargs=-1, required=True, metavar="HISTORY...", type=click.Path(path_type=Path, dir_okay=False)
)
@json_option
def judge(histories: tuple[Path, ...], as_json: bool) -> None:
    """Judge runs again, from their histories alone. Exit status: 0 they hold, 1 one does not."""
    found = results.load(histories)
    click.echo(json.dumps(report.document(found), indent=2) if as_json else results.table(found))
    raise click.exceptions.Exit(any(result.findings for result in found))


@command.command("report")
@folder_option
def report_(folder: Path) -> None:
    """Write report.html and report.json of the histories in a folder."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise InputError(f"{folder}: there is no history (*.jsonl) here; restante drill run writes them")
    click.echo(f"{report.write(results.load(paths), folder)}")


def _chosen(names: Sequence[str], scenarios: Sequence[Scenario]) -> list[Scenario]:
    known = {each.name: each for each in scenarios}
    if unknown := [name for name in names if name not in known]:
        more = " --staging" if scenarios is STAGING else ""
        raise InputError(f"there is no scenario {', '.join(unknown)}; restante drill list{more} names all")
    return [known[name] for name in dict.fromkeys(names)] or list(scenarios)


def _clear(folder: Path) -> None:
    """The last run's histories go, by their names; what else lies there is not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in (*SCENARIOS, *STAGING):
        for path in folder.glob(f"{scenario.name}-*.jsonl"):
            if path.stem.removeprefix(f"{scenario.name}-").isdigit():
                path.unlink()


def _tell(found: Sequence[results.Result], folder: Path, *, as_json: bool) -> None:
    page = report.write(found, folder)
    click.echo(
        json.dumps(report.document(found), indent=2) if as_json else f"{results.table(found)}\n\nthe page: {page}"
    )
    if any(result.findings for result in found):
        raise FoundError(f"not every scenario holds; each says why in {page}")


def _interrupt(_: int, __: FrameType | None) -> None:
    """As Ctrl-C: everything is taken down on the way out."""
    raise KeyboardInterrupt
