"""``kforge evolve --dry-run``: what a run would cost, and where it could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.api.pricing import RunPlan
    from kforge.api.settings import Wanted


def price(
    wanted: Wanted, store: str, run: str | None, resume: str | None, prices: Path | None, *, as_json: bool
) -> None:
    """``--dry-run``: what the run would cost, and where it could run."""
    from kforge.api.pricing import price_run
    from kforge.codec import to_dict

    plan = price_run(wanted, store, run, resume, prices)
    if as_json:
        print_json(to_dict(plan))
    else:
        print_plan(plan)


def print_plan(plan: RunPlan) -> None:
    """A priced run."""
    print(f"{plan.task} ({plan.size}), {plan.language}, by {', '.join(plan.models)}")
    print("a dry run: nothing is asked or stored")
    print("\ndevices here:" if plan.devices else "\ndevices here: none")
    for place in plan.devices:
        print(f"  {'takes ' if place.chosen else '      '}{place.selector}  {place.name} ({place.arch})")
    made = f", {plan.told} made" if plan.told else ""
    print(f"\n{plan.evals} evaluations{made}: {plan.given} of your own, {plan.requests} requests at least")
    print(f"first prompt about {plan.prompt_tokens:,} tokens")
    if not plan.request_tokens:
        print("nothing is bought: whoever answers is not paid by the token")
    elif plan.unpriced:
        print(f"one request at most {plan.request_tokens:,} tokens, the run {plan.run_tokens:,}")
        print(f"in dollars unknown: no price of {', '.join(plan.unpriced)} (docs/models.md)")
    else:
        print(f"one request at most {plan.request_tokens:,} tokens, ${plan.request_usd:.4f}")
        print(f"the run at most {plan.run_tokens:,} tokens, ${plan.run_usd:.2f}")
    if plan.allowed_requests < plan.requests:
        print(f"the limits allow {plan.allowed_requests} requests of that size; shorter replies allow more")
    for obstacle in plan.obstacles:
        print(f"not ready: {obstacle}")
