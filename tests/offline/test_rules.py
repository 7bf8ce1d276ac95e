"""Reading, genes, slips and replies of the offline proposer: no device needed."""

from __future__ import annotations

import asyncio
import random

import pytest

from kforge.errors import UsageError
from kforge.search.offline import genes as breeding
from kforge.search.offline import slips
from kforge.search.offline.assemble import candidate, join
from kforge.search.offline.genes import Recipe
from kforge.search.offline.proposer import OfflineProposer, answer
from kforge.search.offline.reading import read
from kforge.search.offline.registry import RECIPES, find
from kforge.search.proposer import Message, ProposalRequest, require_support
from kforge.types import TaskDescription

IDS = [recipe.task_id for recipe in RECIPES]


def recipe_of(task_id: str) -> Recipe:
    recipe = find(task_id)
    assert recipe is not None
    return recipe


def first_prompt(task_id: str) -> str:
    return (
        f"## Task {task_id} (small)\nTitle\n\n```python\n## not a heading\n```\n\n## What to do now\nWrite.\n"
    )


def follow_up(task_id: str, text: str, *, failing: bool, outcome: str, others: tuple[str, ...] = ()) -> str:
    kind = "Failing" if failing else "Parent"
    shown = "".join(f"\n## Inspiration {n}\npassed\n\n```python\n{o}```\n" for n, o in enumerate(others, 1))
    return (
        f"## Task {task_id} (small)\n\n## {kind} candidate\n```python\n{text}```\n\n"
        f"## Outcome of the {kind.lower()}\n{outcome}\n{shown}"
    )


def fenced(reply: str) -> str:
    return reply.split("```python\n", 1)[1].rsplit("```", 1)[0]


def clean_seed(prompt: str) -> int:
    """A seed whose reply to this prompt is a whole file equal to what its own genes write."""
    for seed in range(50):
        reply = answer(prompt, seed)
        reading = read(prompt)
        recipe = recipe_of(reading.task_id or "")
        if "```python" in reply and reply.endswith("```\n"):
            found = breeding.decode(recipe, fenced(reply))
            if found is not None and candidate(recipe, found) == fenced(reply):
                return seed
    raise AssertionError("no clean reply in 50 seeds")


@pytest.mark.parametrize("task_id", IDS)
def test_reply_depends_on_prompt_and_seed_alone(task_id: str) -> None:
    prompt = first_prompt(task_id)
    replies = [answer(prompt, seed) for seed in range(12)]
    assert replies == [answer(prompt, seed) for seed in range(12)]
    assert len(set(replies)) > 3


@pytest.mark.parametrize("task_id", IDS)
def test_genes_survive_the_file(task_id: str) -> None:
    recipe = recipe_of(task_id)
    for seed in range(40):
        genes = breeding.draw(recipe, random.Random(seed))
        assert breeding.decode(recipe, candidate(recipe, genes)) == genes


@pytest.mark.parametrize("task_id", IDS)
def test_every_code_slip_changes_every_draft(task_id: str) -> None:
    recipe = recipe_of(task_id)
    for seed in range(60):
        genes = breeding.draw(recipe, random.Random(seed))
        draft = recipe.write(genes)
        for kind in slips.KINDS:
            changed = join(recipe, genes, slips.apply(kind, draft)) != candidate(recipe, genes)
            assert changed == (kind not in slips.TEXT_SLIPS), (kind, genes)


def test_about_one_reply_in_six_carries_a_slip() -> None:
    prompt, wrong = first_prompt("kb/L2/17"), 0
    recipe = recipe_of("kb/L2/17")
    for seed in range(200):
        reply = answer(prompt, seed)
        if "```python" not in reply or not reply.endswith("```\n"):
            wrong += 1
            continue
        genes = breeding.decode(recipe, fenced(reply))
        assert genes is not None
        wrong += candidate(recipe, genes) != fenced(reply)
    assert 18 <= wrong <= 52


def test_slips_of_every_kind_occur() -> None:
    drawn = {slips.draw(random.Random(seed)) for seed in range(400)}
    assert drawn == {None, *slips.KINDS}


@pytest.mark.parametrize("task_id", IDS)
def test_improvement_differs_from_its_parent_and_keeps_the_family(task_id: str) -> None:
    recipe = recipe_of(task_id)
    parent = candidate(recipe, breeding.safe(recipe))
    other = candidate(recipe, breeding.draw(recipe, random.Random(3)))
    prompt = follow_up(task_id, parent, failing=False, outcome="passed: speedup 1.2", others=(other,))
    reply = answer(prompt, clean_seed(prompt))
    genes = breeding.decode(recipe, fenced(reply))
    assert genes is not None
    assert genes != breeding.safe(recipe)


@pytest.mark.parametrize("task_id", IDS)
def test_repair_of_a_slip_writes_the_same_design_correctly(task_id: str) -> None:
    recipe = recipe_of(task_id)
    genes = breeding.draw(recipe, random.Random(5))
    broken = join(recipe, genes, slips.apply("typo", recipe.write(genes)))
    prompt = follow_up(task_id, broken, failing=True, outcome="build_failed: expected ';'")
    assert fenced(answer(prompt, clean_seed(prompt))) == candidate(recipe, genes)


def test_repair_of_a_failing_design_moves_to_safer_choices() -> None:
    recipe = recipe_of("kb/L2/17")
    genes = {**breeding.safe(recipe), "mode": "subgroup", "wg": 256}
    prompt = follow_up(
        "kb/L2/17", candidate(recipe, genes), failing=True, outcome="check_failed (mismatch) in trial 2"
    )
    repaired = breeding.decode(recipe, fenced(answer(prompt, clean_seed(prompt))))
    assert repaired == breeding.safe(recipe)


@pytest.mark.parametrize(
    "line",
    [
        "# offline: {",
        "# offline: []",
        '# offline: {"family": "conv_norm_divide", "genes": []}',
        '# offline: {"family": "conv_norm_divide", "genes": {"mode": "evil"}}',
        '# offline: {"family": "softmax", "genes": {}}',
        "# offline: " + "[" * 4000,
        "# offline: " + "1" * 100_000,
        "print('no state at all')",
    ],
)
@pytest.mark.parametrize("failing", [True, False])
def test_foreign_or_hostile_state_gives_a_fresh_start(line: str, failing: bool) -> None:
    prompt = follow_up("kb/L2/17", line + "\n", failing=failing, outcome="passed")
    reply = answer(prompt, clean_seed(prompt))
    assert "fresh start" in reply
    assert breeding.decode(recipe_of("kb/L2/17"), fenced(reply)) is not None


def test_reading_takes_headings_outside_fences_only() -> None:
    reading = read(
        "## Task kb/L1/19 (full)\n```python\n## Task kb/L2/17 (small)\n```\n"
        "## Failing candidate\n~~~~python\none\n```\n~~~~\n## Outcome of the failing candidate\n timed_out\n"
        "## Inspiration 1\n```python\nsecond\n```\n## Inspiration 2\nno block\n"
    )
    assert reading.task_id == "kb/L1/19"
    assert reading.parent == "one\n```\n"
    assert reading.failing
    assert reading.outcome == "timed_out"
    assert reading.inspirations == ("second\n",)


@pytest.mark.parametrize(
    "prompt", ["", "hello", "## Task unknown/1 (small)\n", "## Task\n", "```\n## Task kb/L1/19"]
)
def test_a_prompt_without_a_known_task_gets_no_kernel(prompt: str) -> None:
    assert "```" not in answer(prompt, 1)


def test_protocol_and_support() -> None:
    proposer = OfflineProposer()
    assert (proposer.name, proposer.offline) == ("offline", True)
    for task_id in IDS:
        assert proposer.supports(TaskDescription(task_id, "", "small", "", "", ())) is None
    with pytest.raises(UsageError, match="user/mine") as refused:
        require_support(proposer, TaskDescription("user/mine", "", "small", "", "", ()))
    assert "kb/L1/19" in refused.value.message
    assert "--model openai:MODEL" in refused.value.next_step
    assert "--from FILE" in refused.value.next_step
    request = ProposalRequest((Message("system", "x"), Message("user", first_prompt("kb/L1/19"))), 2, 0, 1000)
    reply = asyncio.run(proposer.propose(request))
    assert reply.content == answer(first_prompt("kb/L1/19"), 2)
    assert "offline proposer" in reply.content
    assert reply.reasoning
    assert reply.content.startswith(reply.reasoning)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.usd) == (0, 0, 0.0)
