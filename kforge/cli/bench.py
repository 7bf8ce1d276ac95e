"""``kforge bench``: what the search is worth, measured without a model or a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kforge.cli.options import JsonOption
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.api.bench_search import SearchBench
    from kforge.search.landscapes.compare import Comparison, Estimate
    from kforge.search.landscapes.criteria import Criterion

app = typer.Typer(
    help="Measure the search itself: no model, no device.", no_args_is_help=True, rich_markup_mode=None
)


LandscapesOption = Annotated[
    Path,
    typer.Option(
        "--landscapes",
        metavar="DIR",
        help="Directory with recorded landscapes: T4 results or caches of Kernel Tuner, *.json or *.json.gz.",
    ),
]
StrategyOption = Annotated[
    list[str] | None,
    typer.Option("--strategy", metavar="NAME", help="A strategy to compare; again for more. Else every one."),
]
SeedsOption = Annotated[
    int, typer.Option("--seeds", metavar="N", help="Searches of each strategy on each landscape.")
]
EvalsOption = Annotated[
    str, typer.Option("--evals", metavar="N,...", help="Evaluations after which to compare.")
]
WorkersOption = Annotated[
    str, typer.Option("--workers", metavar="N,...", help="Candidates under way at a time, such as 1,4,16.")
]
StepsOption = Annotated[
    str,
    typer.Option(
        "--steps",
        metavar="S",
        help="small (a proposal changes 1.5 parameters on average), large (4), or both.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Where all random numbers come from.")]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.html", help="Write the curves as a page that needs nothing else."),
]


@app.callback()
def _bench() -> None:
    """Measure the search itself: no model, no device."""


@app.command("search")
def search(  # noqa: PLR0917 - typer reads the options from the signature
    landscapes: LandscapesOption,
    strategy: StrategyOption = None,
    seeds: SeedsOption = 500,
    evals: EvalsOption = "50,100,200",
    workers: WorkersOption = "1",
    steps: StepsOption = "both",
    seed: SeedOption = 0,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the search strategies on recorded performance landscapes."""
    from kforge.api.bench_search import bench_search, document, search_plan
    from kforge.errors import UsageError
    from kforge.search.landscapes.plot import page_of

    plan = search_plan(
        strategy or (),
        seeds=seeds,
        evals=_numbers("--evals", evals),
        workers=_numbers("--workers", workers),
        steps=steps,
        seed=seed,
    )
    if plot is not None and (plot.is_dir() or not plot.absolute().parent.is_dir()):
        raise UsageError(f"--plot {plot} cannot be written.", "give a file in a directory that exists")
    done = bench_search(landscapes, plan, progress=_progress)
    if plot is not None:
        plot.write_text(page_of(done.comparisons), encoding="utf-8")
    if as_json:
        print_json(document(done))
    else:
        _print(done)
        if plot is not None:
            print(f"\ncurves: {plot}")


def _numbers(option: str, said: str) -> list[int]:
    from kforge.errors import UsageError

    parts = [part.strip() for part in said.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise UsageError(f"{option} {said!r} is not a list of numbers.", f"use {option} 1 or {option} 1,4,16")
    return [int(part) for part in parts]


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} parts", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _print(bench: SearchBench) -> None:
    from kforge.search.strategies.registry import SHIPPED

    families = {name for comparison in bench.comparisons for name in comparison.families}
    print(
        f"{len(bench.landscapes)} landscapes of {len(families)} kernel families, {bench.plan.seeds} seeds; "
        "fraction = optimum / best found, with one-sided 95 % bounds"
    )
    for comparison in bench.comparisons:
        _print_means(comparison)
        _print_landscapes(comparison)
        _print_differences(comparison)
    if SHIPPED in bench.plan.arms:
        _print_criteria(bench, SHIPPED)


def _title(comparison: Comparison, what: str) -> str:
    setting = comparison.setting
    return f"\n{what}, {setting.steps} steps, {setting.workers} at a time"


def _print_means(comparison: Comparison) -> None:
    from kforge.render import print_table

    last = comparison.evals[-1]
    ranked = sorted(comparison.arms, key=lambda arm: -comparison.overall(arm, last).mean)
    rows = [
        (
            arm,
            *(_interval(comparison.overall(arm, n)) for n in comparison.evals),
            *(f"{comparison.score_curves[comparison.arms.index(arm), n - 1]:.2f}" for n in comparison.evals),
        )
        for arm in ranked
    ]
    headings = [*(f"fraction @{n}" for n in comparison.evals), *(f"score @{n}" for n in comparison.evals)]
    print_table(
        ("strategy", *headings),
        rows,
        _title(comparison, "mean over landscapes (score: 0 is random search, 1 the optimum)"),
    )


def _print_landscapes(comparison: Comparison) -> None:
    from kforge.render import print_table

    last = comparison.evals[-1]
    rows = [
        (arm, *(f"{comparison.on(name, arm, last).mean:.3f}" for name in comparison.names))
        for arm in comparison.arms
    ]
    print_table(("strategy", *comparison.names), rows, _title(comparison, f"fraction @{last}"))


def _print_differences(comparison: Comparison) -> None:
    from kforge.render import print_table
    from kforge.search.landscapes.criteria import GREEDY, PLAIN

    rows = []
    for arm in comparison.arms:
        for n in comparison.evals:
            against = (comparison.best(n), PLAIN, GREEDY)
            told = [
                _interval(comparison.overall(arm, n, other), signed=True) if other in comparison.arms else ""
                for other in against
            ]
            rows.append((arm, str(n), *told, against[0]))
    headings = ("strategy", "evals", "to the best", f"to {PLAIN}", f"to {GREEDY}", "the best is")
    print_table(headings, rows, _title(comparison, "paired difference in the fraction"))


def _print_criteria(bench: SearchBench, arm: str) -> None:
    from kforge.render import print_table

    criteria = bench.criteria(arm)
    rows = [
        (
            _verdict(criterion),
            criterion.said,
            criterion.family or "",
            f"{criterion.steps}, {criterion.workers} at a time",
            f"@{criterion.evals}",
            "itself" if criterion.against == arm else criterion.against,
            _interval(criterion.difference, signed=True),
        )
        for criterion in criteria
    ]
    headings = ("", "criterion", "family", "steps", "evals", "against", "difference")
    print_table(headings, rows, f"\ncriteria of a default strategy: {arm}")
    met, by_mean = sum(c.met for c in criteria), sum(c.met_by_mean for c in criteria)
    print(f"{arm}: by the bounds {met} of {len(criteria)} are met, by the means {by_mean}")
    if len(bench.comparisons) > 1:
        print(f"all met by the bounds, everywhere: {_passing(bench, bench.comparisons)}")
    for comparison in bench.comparisons:
        where = f"{comparison.setting.steps} steps, {comparison.setting.workers} at a time"
        print(f"all met by the bounds, {where}: {_passing(bench, (comparison,))}")


def _passing(bench: SearchBench, comparisons: tuple[Comparison, ...]) -> str:
    """The arms that meet every criterion; an arm that is compared with itself is not below itself."""
    from kforge.search.landscapes.criteria import judge

    passing = [arm for arm in bench.plan.arms if all(c.met for held in comparisons for c in judge(held, arm))]
    return ", ".join(passing) or "no strategy"


def _verdict(criterion: Criterion) -> str:
    if criterion.met:
        return "met"
    return "by the mean only" if criterion.met_by_mean else "not met"


def _interval(estimate: Estimate, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{estimate.mean:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
