"""The options of ``kforge evolve`` that no other command has, each with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task", "-t", metavar="TASK", help="Task id such as kb/L2/17, or a file such as ./mine.py."
    ),
]
FromOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--from", metavar="FILE", help="Start from this kernel of yours (a candidate file). May be repeated."
    ),
]
LanguageOption = Annotated[
    str, typer.Option("--language", metavar="L", help="Language of the kernels: sycl or cuda.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="Who proposes: openai:MODEL, vllm:MODEL@URL, exchange:DIR (a person or an agent answers by "
        "files), replay:FILE, or offline (rule-based, no model, no network; the default). Several are an "
        "ensemble.",
    ),
]
EvalsOption = Annotated[
    int, typer.Option("--evals", metavar="N", help="Evaluations to make; exact duplicates are free.")
]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", metavar="M", help="Stop proposing after this long.")
]
DeviceSecondsOption = Annotated[
    float | None,
    typer.Option(
        "--device-seconds", metavar="S", help="Stop proposing when checks and benchmarks took this long."
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option(
        "--tokens", metavar="N", help="Stop proposing before prompts and replies may exceed this many tokens."
    ),
]
UsdOption = Annotated[
    float | None,
    typer.Option("--usd", metavar="X", help="Stop proposing before the run may cost more dollars than this."),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE", help="Price table (docs/models.md) over the one that ships with kforge."
    ),
]
MaxReplyTokensOption = Annotated[
    int,
    typer.Option(
        "--max-reply-tokens", metavar="N", help="Upper bound of one reply in tokens, reasoning included."
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option("--temperature", metavar="T", help="Of the model. Default: the server's own."),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of every decision.")]
StrategyOption = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="Who chooses parents: default, or another that docs/search.md lists, such as greedy, top-k or "
        "map-elites.",
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="NAME", help="Name of the run; the same name again continues it."),
]
ResumeOption = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="NAME",
        help="Continue this run with the settings it began with. Limits (--evals, --minutes, "
        "--device-seconds, --tokens, --usd), --model, --in-flight and --stop-when-waiting may be given anew.",
    ),
]
InFlightOption = Annotated[
    int | None,
    typer.Option(
        "--in-flight",
        metavar="N",
        help="Candidates under way at a time, prompts that wait for an answer included. "
        "Default: what the machine takes.",
    ),
]
StopWhenWaitingOption = Annotated[
    bool,
    typer.Option(
        "--stop-when-waiting",
        help="With an exchange: end, in state waiting, when only unanswered prompts are left; "
        "--resume goes on.",
    ),
]
InOrderOption = Annotated[
    bool,
    typer.Option(
        "--in-order",
        help="Tell results in the order of their proposals, so that the run can be repeated from its "
        "replies. One slow candidate then holds up the decisions after it.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what the run would cost and which devices match; nothing is asked or stored."
    ),
]
EventsOption = Annotated[
    Path | None,
    typer.Option("--events", metavar="FILE", help="Append every step to this file, one JSON object a line."),
]
