"""A draft becomes the text of a candidate file."""

from __future__ import annotations

from kforge.search.offline.genes import Draft, Genes, Recipe, State, encode


def candidate(recipe: Recipe, genes: Genes) -> str:
    """The sealed candidate file for these genes, ready to be put into a reply."""
    return join(recipe, genes, recipe.write(genes))


def join(recipe: Recipe, genes: Genes, draft: Draft) -> str:
    """The file made of a draft's parts; its second line carries the genes."""
    tune = "".join(f'    "{name}": {list(values)!r},\n' for name, values in draft.tune.items())
    return (
        f"# Written for {recipe.task_id} by kforge's offline proposer: fixed rules, no model.\n"
        + encode(State(recipe.family, genes))
        + "\n"
        + ("import math\n\n" if "math." in draft.plan else "\n")
        + 'LANGUAGE = "sycl"\n'
        + (f"TUNE = {{\n{tune}}}\n" if tune else "")
        + f"SOURCE = r'''\n{draft.source}'''\n\n\n{draft.plan}"
    )
