"""Genes: the discrete choices behind one offline kernel, and the rules that vary them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Choice = int | str
Genes = Mapping[str, Choice]

STATE_PREFIX = "# offline: "


@dataclass(frozen=True, slots=True)
class Gene:
    """One choice of a kernel writer. The first of ``choices`` is the safe one, for repairs."""

    name: str
    choices: tuple[Choice, ...]

    @property
    def safe(self) -> Choice:
        """The choice least likely to fail on an unknown device."""
        return self.choices[0]


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of one candidate file, before assembly.

    Attributes:
        tune: name to choices, the first being the one to measure.
        source: SYCL device code.
        plan: the ``plan`` function, as Python text.
        idea: one sentence on what the kernel does and why.
    """

    tune: Mapping[str, tuple[int, ...]]
    source: str
    plan: str
    idea: str


def _unchanged(genes: Genes) -> Genes:
    return genes


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to write kernels for one task.

    Attributes:
        settle: maps genes that make no difference next to the others to their safe choice, so that
            equal kernels have equal genes.
        fast: choices the author believes in; a first kernel starts near them.
    """

    task_id: str
    family: str
    genes: tuple[Gene, ...]
    write: Callable[[Genes], Draft]
    settle: Callable[[Genes], Genes] = _unchanged
    fast: tuple[tuple[str, Choice], ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What an offline candidate says about itself in its comment line."""

    family: str
    genes: Genes


def safe(recipe: Recipe) -> Genes:
    """Every gene at its safe choice."""
    return recipe.settle({gene.name: gene.safe for gene in recipe.genes})


def draw(recipe: Recipe, rng: random.Random) -> Genes:
    """Genes of a first kernel: each is the author's favourite or, as often, any choice."""
    fast = dict(recipe.fast)
    drawn: dict[str, Choice] = {}
    for gene in recipe.genes:
        pick = rng.choice(gene.choices)
        drawn[gene.name] = fast.get(gene.name, gene.safe) if rng.random() < 0.5 else pick
    return recipe.settle(drawn)


def mutate(recipe: Recipe, genes: Genes, rng: random.Random) -> Genes:
    """Change one or two genes that make a difference."""
    before = recipe.settle(genes)
    changed = dict(before)
    for _ in range(32):
        gene = rng.choice([g for g in recipe.genes if len(g.choices) > 1])
        changed[gene.name] = rng.choice([c for c in gene.choices if c != changed[gene.name]])
        if recipe.settle(changed) != before and rng.random() < 0.6:
            break
    return recipe.settle(changed)


def cross(recipe: Recipe, first: Genes, second: Genes, rng: random.Random) -> Genes:
    """Take each gene from either parent."""
    return recipe.settle(
        {gene.name: (first if rng.random() < 0.5 else second)[gene.name] for gene in recipe.genes}
    )


def safer(recipe: Recipe, genes: Genes, rng: random.Random) -> Genes:
    """Move up to two risky genes to their safe choice; all of them when nothing else is left."""
    risky = [gene for gene in recipe.genes if genes[gene.name] != gene.safe]
    chosen = rng.sample(risky, min(2, len(risky)))
    return recipe.settle({**genes, **{gene.name: gene.safe for gene in chosen}})


def differs(genes: Genes, seen: Sequence[Genes]) -> bool:
    """Whether these genes were not shown in the prompt."""
    return all(dict(genes) != dict(other) for other in seen)


def encode(state: State) -> str:
    """The comment line that carries a candidate's genes to its children."""
    return STATE_PREFIX + json.dumps({"family": state.family, "genes": dict(state.genes)}, sort_keys=True)


def decode(recipe: Recipe, text: str) -> Genes | None:
    """Read the genes back from a candidate's text; None if there are none that this recipe can use."""
    for line in text.splitlines():
        if not line.startswith(STATE_PREFIX) or len(line) > 4096:
            continue
        try:
            data = json.loads(line[len(STATE_PREFIX) :])
        except (ValueError, RecursionError):
            return None
        genes = data.get("genes") if isinstance(data, dict) and data.get("family") == recipe.family else None
        return _checked(recipe, genes) if isinstance(genes, dict) else None
    return None


def _checked(recipe: Recipe, genes: Mapping[str, object]) -> Genes | None:
    checked: dict[str, Choice] = {}
    for gene in recipe.genes:
        value = genes.get(gene.name)
        match = [choice for choice in gene.choices if choice == value and type(choice) is type(value)]
        if not match:
            return None
        checked[gene.name] = match[0]
    return recipe.settle(checked)
