"""The offline proposer: reads the prompt, follows rules, answers with text; the seed is its only chance."""

from __future__ import annotations

import random

from kforge.clock import decision_rng
from kforge.search.offline import genes as breeding
from kforge.search.offline import slips
from kforge.search.offline.assemble import candidate, join
from kforge.search.offline.genes import Genes, Recipe, decode
from kforge.search.offline.reading import Reading, read
from kforge.search.offline.registry import RECIPES, find
from kforge.search.proposer import ProposalRequest, Reply, StandIn
from kforge.types import TaskDescription

WHO = "This is kforge's offline proposer: fixed rules, no language model."
_CROSS_SHARE = 0.4  # of improvements with an inspiration at hand
_FRESH_SHARE = 0.1  # of improvements that start over, so that a run cannot get stuck in one corner


class OfflineProposer(StandIn):
    """Writes SYCL kernels for the embedded tasks by rule; costs nothing and needs no network."""

    @property
    def name(self) -> str:
        """What every output calls this proposer."""
        return "offline"

    def supports(self, task: TaskDescription) -> str | None:
        """None for the embedded tasks the rules cover, else why not and what to do instead."""
        if find(task.id) is not None:
            return None
        known = ", ".join(recipe.task_id for recipe in RECIPES)
        return f"it has no rules for it; it knows {known}."

    async def propose(self, request: ProposalRequest) -> Reply:
        """Answer from the messages and the seed alone."""
        prompt = "\n\n".join(message.content for message in request.messages if message.role == "user")
        content = answer(prompt, request.seed)
        reasoning = content.split("```", 1)[0].strip()
        return Reply(content=content, reasoning=reasoning, prompt_tokens=0, completion_tokens=0, usd=0.0)


def answer(prompt: str, seed: int) -> str:
    """The reply to a rendered prompt: a few sentences, then (usually) one fenced candidate file."""
    reading = read(prompt)
    recipe = find(reading.task_id) if reading.task_id is not None else None
    if recipe is None:
        return f"{WHO} It found no task in the prompt that its rules cover, so it writes no kernel.\n"
    # Only what the rules read counts, so that a changed sentence elsewhere does not change the kernel.
    rng = decision_rng(seed, f"offline/{reading!r}", 0)
    genes, why = _choose(recipe, reading, rng)
    draft = recipe.write(genes)
    slip = slips.draw(rng)
    if slip == "no_kernel":
        return f"{WHO} {why}\nPlan: {draft.idea} The file follows in the next message.\n"
    if slip is not None:
        draft = slips.apply(slip, draft)
    text = f"{WHO} {why}\nPlan: {draft.idea}\n\n```python\n{join(recipe, genes, draft)}```\n"
    return text[: int(len(text) * 0.8)] if slip == "truncated" else text


def _choose(recipe: Recipe, reading: Reading, rng: random.Random) -> tuple[Genes, str]:
    """Genes for the next kernel, and one sentence on why."""
    parent = None if reading.parent is None else decode(recipe, reading.parent)
    others = [found for text in reading.inspirations if (found := decode(recipe, text)) is not None]
    if reading.parent is None:
        return breeding.draw(recipe, rng), "No candidate is shown, so this is a first one."
    if parent is None:
        return breeding.draw(recipe, rng), "The candidate shown is not of these rules: a fresh start."
    if reading.failing:
        return _repair(recipe, reading, parent, rng)
    return _improve(recipe, parent, others, rng)


def _repair(recipe: Recipe, reading: Reading, genes: Genes, rng: random.Random) -> tuple[Genes, str]:
    status = reading.outcome.split(" ", 1)[0].rstrip(":;,.") or "failed"
    shown = (reading.parent or "").strip()
    if shown != candidate(recipe, genes).strip():
        return (
            genes,
            f"The candidate {status} by a slip in its text: the same design, written out afresh.",
        )
    safer = breeding.safer(recipe, genes, rng)
    if dict(safer) == dict(genes):
        safer = breeding.mutate(recipe, genes, rng)
    return safer, f"The candidate {status} as designed, so {_difference(genes, safer)}."


def _improve(recipe: Recipe, parent: Genes, others: list[Genes], rng: random.Random) -> tuple[Genes, str]:
    seen = [parent, *others]
    roll = rng.random()
    genes, how = breeding.mutate(recipe, parent, rng), "One or two choices of the parent vary"
    if roll < _FRESH_SHARE:
        genes, how = breeding.draw(recipe, rng), "A fresh start"
    elif others and roll < _FRESH_SHARE + _CROSS_SHARE:
        genes, how = (
            breeding.cross(recipe, parent, rng.choice(others), rng),
            "Crossed with an inspiration",
        )
    for _ in range(16):
        if breeding.differs(genes, seen):
            break
        genes = breeding.mutate(recipe, genes, rng)
    return genes, f"{how}: {_difference(parent, genes)}."


def _difference(before: Genes, after: Genes) -> str:
    changes = [f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
    return ", ".join(changes) if changes else "nothing changes"
