"""Every candidate of stored runs as Markdown: ``python -m benchmarks.campaign_table STORE... > table.md``.

Winners and losers alike, in the order of their evaluation. With ``--bounds FILE`` (JSON lines of level, id
and bound_us) the distance to a task's bound is told; with ``--winners DIR`` each run's best source is
written there.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path

from kforge.cli.output import report_error
from kforge.data.records import RunRecords
from kforge.data.store import Store
from kforge.errors import KforgeError, UsageError
from kforge.eval.candidate import parse_candidate
from kforge.search.cells import cell_name
from kforge.types import CandidateSource, Outcome, Passed

# Views copy nothing and are no library operators.
LIBRARY_CALL = re.compile(r"""k\.op\(\s*["'](conv|linear|matmul|mm|bmm|mv|addmm|baddbmm|scaled)""")
HEAD = (
    "| # | answers | precision | time | against eager | against torch.compile | of the bound | error | cell |"
    " library ops |\n|---|---|---|---|---|---|---|---|---|---|"
)


def tables(records: RunRecords, bound_us: float | None) -> str:
    """One run's table, rows in the order of telling."""
    ordinals = {c.id: c.ordinal for c in records.candidates}
    rows = []
    for evaluation in records.evaluations:
        candidate = next(c for c in records.candidates if c.id == evaluation.candidate_id)
        proposal = next(p for p in records.proposals if p.id == candidate.proposal_id)
        build = records.builds.get(candidate.id)
        source = parse_candidate(candidate.source or "")
        sealed = source if isinstance(source, CandidateSource) else None
        parents = ", ".join(str(ordinals[name]) for name in proposal.parents)
        cells = [
            str(candidate.ordinal),
            f"{proposal.kind} of {parents}" if parents else proposal.kind,
            sealed.precision if sealed else "",
            *_figures(evaluation.value.outcome, bound_us),
            cell_name(build.measures.cell) if build and build.measures else "",
            "yes" if sealed and LIBRARY_CALL.search(sealed.text) else "no",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    known = f"Bound {bound_us:,.0f} us.\n\n" if bound_us is not None else ""
    return f"### {records.run.task_id} ({records.run.size})\n\n{known}{HEAD}\n" + "\n".join(rows) + "\n"


def _figures(outcome: Outcome, bound_us: float | None) -> tuple[str, str, str, str, str]:
    """Time, speedups with intervals, share of the bound, error; a failure's reason in place of the time."""
    if not isinstance(outcome, Passed):
        reason = " ".join(outcome.reason.split()).replace("|", "/")[:160]
        return f"{outcome.status}: {reason}", "", "", "", ""
    eager = f"{outcome.speedup:.2f} ({outcome.speedup_low:.2f}..{outcome.speedup_high:.2f}) {outcome.verdict}"
    ratios = [w.compiled_speedup for w in outcome.workloads if w.compiled_speedup is not None]
    compiled = ""
    if len(ratios) == len(outcome.workloads):
        point, low, high = (math.prod(r[i] for r in ratios) ** (1 / len(ratios)) for i in range(3))
        compiled = f"{point:.2f} ({low:.2f}..{high:.2f})"
    share = f"{bound_us / outcome.latency_us:.0%}" if bound_us is not None else ""
    time = f"{outcome.latency_us:,.1f} us ± {outcome.noise:.1%}"
    return time, eager, compiled, share, f"{outcome.max_error:.2g}"


def best_source(records: RunRecords) -> str | None:
    """The source with the highest objective."""
    scored = [e for e in records.evaluations if e.value.objective is not None]
    if not scored:
        return None
    winner = max(scored, key=lambda e: e.value.objective or -math.inf)
    return next(c.source for c in records.candidates if c.id == winner.candidate_id)


def bounds_of(path: Path | None) -> dict[str, float]:
    """Task id to its bound in microseconds."""
    if path is None:
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return {f"kb/L{e['level']}/{e['id']}": float(e["bound_us"]) for e in lines if "bound_us" in e}


def main() -> int:
    """Write the tables to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stores", nargs="+", help="stores with one or more runs")
    parser.add_argument("--bounds", type=Path)
    parser.add_argument("--winners", type=Path)
    options = parser.parse_args()
    bounds = bounds_of(options.bounds)
    for url in options.stores:
        with Store.open(url, create=False) as store:
            for overview in store.list_runs():
                records = store.load_run(overview.run.id)
                print(tables(records, bounds.get(records.run.task_id)))
                source = best_source(records)
                if options.winners is not None and source is not None:
                    options.winners.mkdir(parents=True, exist_ok=True)
                    name = records.run.task_id.replace("/", "-") + ".py"
                    (options.winners / name).write_text(source)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KforgeError as error:
        sys.exit(report_error(error, as_json=False))
    except OSError as error:
        failed = UsageError(f"{error.filename}: {error.strerror}.", "give paths that exist, and a directory")
        sys.exit(report_error(failed, as_json=False))
