"""Reads a rendered prompt as a model would: by its headings and fenced blocks, nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TASK = re.compile(r"^task\s+(\S+)", re.IGNORECASE)
_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Section:
    """One ``##`` section: its heading, its prose, and the text of its fenced blocks."""

    heading: str
    prose: str
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the offline proposer takes from a prompt.

    Attributes:
        task_id: from the ``## Task`` heading; None if there is none.
        parent: text of the parent or failing candidate, if one is shown.
        failing: whether that candidate failed and is to be repaired.
        outcome: what the prompt says happened to it.
        inspirations: texts of the other candidates shown.
    """

    task_id: str | None
    parent: str | None
    failing: bool
    outcome: str
    inspirations: tuple[str, ...]


def sections(text: str) -> tuple[Section, ...]:
    """Split a prompt at its second-level headings; a heading inside a fenced block is code."""
    found: list[Section] = []
    heading, prose, blocks, block = "", list[str](), list[str](), list[str]()
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                blocks.append("\n".join(block) + "\n")
                fence, block = "", []
            else:
                block.append(line)
        elif mark:
            fence = mark[1]
        elif line.startswith("## "):
            found.append(Section(heading, "\n".join(prose), tuple(blocks)))
            heading, prose, blocks = line[3:].strip(), [], []
        else:
            prose.append(line)
    found.append(Section(heading, "\n".join(prose), tuple(blocks)))
    return tuple(found)


def read(prompt: str) -> Reading:
    """Find the task, the candidate to start from, its outcome, and the inspirations."""
    task_id: str | None = None
    parent: str | None = None
    failing, outcome = False, ""
    inspirations: list[str] = []
    for section in sections(prompt):
        heading = section.heading.lower()
        match = _TASK.match(section.heading)
        if match and task_id is None:
            task_id = match[1]
        elif heading.startswith("outcome"):
            outcome = section.prose.strip()
        elif heading.startswith(("parent", "failing")) and section.blocks:
            parent, failing = section.blocks[-1], heading.startswith("failing")
        elif heading.startswith("inspiration"):
            inspirations.extend(section.blocks[-1:])
    return Reading(task_id, parent, failing, outcome, tuple(inspirations))
