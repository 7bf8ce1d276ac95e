"""``kforge runs`` and ``kforge report``: what was done, read from the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kforge.cli.options import JsonOption, StoreOption, chosen_store
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.data.records import RunRecords
    from kforge.data.standing import Standing
    from kforge.search.summary import RunSummary

runs_app = typer.Typer(help="List and show runs.", no_args_is_help=True, rich_markup_mode=None)


@runs_app.command("list")
def list_command(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List runs, newest first."""
    from kforge.codec import to_dict
    from kforge.data.store import Store
    from kforge.render import print_table, speedup_of_objective

    with Store.open(chosen_store(store), create=False) as opened:
        found = opened.list_runs()
    if as_json:
        print_json([to_dict(overview) for overview in found])
        return
    rows = [
        (
            o.run.name, o.run.task_id, o.run.size, o.run.state, str(o.evaluations), str(o.passed),
            speedup_of_objective(o.best_objective), f"{o.run.created_at:%Y-%m-%d %H:%M}",
        )
        for o in found
    ]  # fmt: skip
    print_table(
        ("run", "task", "size", "state", "evaluations", "passed", "best (lower bound)", "began"), rows
    )


@runs_app.command("show")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every candidate of a run, in the order of telling."""
    from kforge.codec import to_dict
    from kforge.data.store import Store
    from kforge.render import outcome_line, print_table
    from kforge.search.retell import strategy_of
    from kforge.types import Outcome

    with Store.open(chosen_store(store), create=False) as opened:
        records = opened.load_run(opened.get_run(run).id)
    ordinals = {c.id: c.ordinal for c in records.candidates}
    kinds = {p.ordinal: p.kind for p in records.proposals}
    rows = [
        (e.seq, ordinals[e.candidate_id], kinds[ordinals[e.candidate_id]], e.value.outcome)
        for e in records.evaluations
    ]
    if as_json:
        print_json(
            [{"seq": s, "candidate": n, "kind": k, "outcome": to_dict(o, Outcome)} for s, n, k, o in rows]
        )
        return
    print(f"strategy: {strategy_of(records)}")
    print_table(
        ("told", "candidate", "kind", "outcome"),
        [(str(s), str(n), k, outcome_line(o).splitlines()[0][:140]) for s, n, k, o in rows],
    )


@runs_app.command("replies")
def replies(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write, JSON Lines.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the replies of a run to a file that --model replay:FILE answers from."""
    from kforge.data.store import Store
    from kforge.search.models.replay import write_replies

    with Store.open(chosen_store(store), create=False) as opened:
        records = opened.load_run(opened.get_run(run).id)
    written = write_replies(out, records)
    if as_json:
        print_json({"run": run, "replies": written, "file": str(out)})
    else:
        print(f"wrote {written} replies to {out}; kforge evolve --model replay:{out} answers from them")


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write the report as one HTML page that needs no network."
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report on a run: best kernel, archive grid, failures by class, what it took."""
    from kforge.api.admission import admission_of_run
    from kforge.codec import to_dict
    from kforge.data.store import Store
    from kforge.eval.candidate import parse_candidate
    from kforge.render import print_standing, print_summary
    from kforge.search.retell import summary_of

    with Store.open(chosen_store(store), create=False) as opened:
        records = opened.load_run(opened.get_run(run).id)
    summary = summary_of(records, parse_candidate)
    own = records.run
    admission = admission_of_run(own.task_id, own.config.get("task_hash"), own.size, chosen_store(store))
    written = None if html is None else _write_html(html, records, summary, admission)
    if as_json:
        said = {"run": run, "task": records.run.task_id, "size": records.run.size, **to_dict(summary)}
        print_json({**said, "task_admission": to_dict(admission)})
    elif written is None:
        print_summary(run, records.run.task_id, records.run.size, summary)
        print_standing(admission)
    else:
        print(f"wrote {html} ({written / 1024:.0f} KiB)")


def _write_html(path: Path, records: RunRecords, summary: RunSummary, admission: Standing) -> int:
    """Write the page; its size in bytes."""
    from kforge import __version__
    from kforge.clock import SystemClock
    from kforge.report.data import report_of
    from kforge.report.page import page_of
    from kforge.report.write import write_page

    report = report_of(
        records, summary, made_at=SystemClock().now(), made_by=__version__, admission=admission
    )
    return write_page(path, page_of(report))
