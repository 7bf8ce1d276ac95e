"""Does ``kforge tasks check`` find what an earlier screen of KernelBench found? The tables of the docs.

    kforge tasks check --level 1 --level 2 --jobs 2 --json > admission.json
    python -m benchmarks.task_admission admission.json > tables.md

The earlier screen ran by hand on KernelBench at 423217d (fp32 on a CPU, level 2 with the batch cut to 4,
level 1 to 2, nothing else cut). Exit code 1 if a case is missing that ``EXPLAINED`` does not explain.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFEREES = {"kforge": "kforge", "kernelbench": "KernelBench, 1e-4", "kernelbench_v0": "KernelBench, 1e-2"}


@dataclass(frozen=True, slots=True)
class Expected:
    """Tasks of a level that the earlier screen saw accept a control at a tolerance."""

    level: int
    control: str
    referee: str
    tasks: frozenset[int]


def _set(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


STRICT = _set(9, 23, 36, 38, 42, 65, 80, 83)
EXPECTED = (
    Expected(2, "zeros", "kernelbench", _set(9, 23, 38, 80, 83)),
    Expected(2, "zeros", "kernelbench_v0", _set(9, 23, 38, 80, 83, 66, 84, 99)),
    Expected(2, "constant", "kernelbench", STRICT),
    Expected(2, "constant", "kernelbench_v0", STRICT | _set(8, 22, 45, 49, 55, 56, 58, 64, 66, 84, 89, 99)),
    Expected(2, "input_independent", "kernelbench", STRICT),
    Expected(
        2, "input_independent", "kernelbench_v0",
        STRICT | _set(8, 10, 22, 44, 45, 49, 55, 56, 58, 64, 66, 67, 84, 89, 91, 96, 99),
    ),
    Expected(2, "template", "kernelbench", _set(9, 36, 38, 42, 80, 83)),
    Expected(
        2, "template", "kernelbench_v0",
        _set(9, 36, 38, 42, 80, 83, 8, 10, 13, 22, 44, 49, 56, 58, 64, 66, 67, 84, 89, 91, 96, 99),
    ),
    Expected(1, "zeros", "kernelbench", _set(23)),
    Expected(1, "zeros", "kernelbench_v0", _set(23, 37, 39, 53)),
    Expected(1, "constant", "kernelbench", _set(23)),
    Expected(1, "constant", "kernelbench_v0", _set(23, 37, 39, 48, 49, 53)),
    Expected(1, "input_times_constant", "kernelbench", _set(37, 39)),
    Expected(1, "input_times_constant", "kernelbench_v0", _set(37, 38, 39)),
    Expected(1, "known_moments", "kernelbench_v0", _set(33, 34, 35, 40)),
    Expected(1, "largest_input_ignored", "kernelbench", _set(100)),
    Expected(1, "rows_10_percent", "kernelbench", _set(94, 96)),
    Expected(1, "rows_1_percent", "kernelbench_v0", _set(94, 96)),
)  # fmt: skip

# (level, control, referee, task): why it is not found here. "of the tolerance": the largest error of each of
# KernelBench's five trials over atol + rtol |value|; all must stay below 1.
EXPLAINED: Mapping[tuple[int, str, str, int], str] = {
    (2, "constant", "kernelbench_v0", 22): (
        "borderline in the screen too; 0.78 to 1.62 of the tolerance at batch 64"
    ),
    (2, "input_independent", "kernelbench_v0", 22): (
        "borderline in the screen too; 1.22 to 1.70 of the tolerance at batch 64, 0.35 to 0.84 at batch 4"
    ),
    (2, "template", "kernelbench_v0", 22): "as for the constant",
    (2, "constant", "kernelbench_v0", 55): (
        "borderline in the screen too; in_features is cut to 2,048, for 32,768 need 4 GiB of weights: "
        "1.20 to 4.34 of the tolerance"
    ),
    (2, "input_independent", "kernelbench_v0", 55): "the same: 0.70 to 4.85 of the tolerance",
    (2, "input_independent", "kernelbench_v0", 58): (
        "one of five trials is at 1.03 of the tolerance, the others at 0.81 to 0.90"
    ),
    (1, "constant", "kernelbench_v0", 48): (
        "borderline in the screen; 1.17 to 1.36 of the tolerance in these five trials"
    ),
    (1, "known_moments", "kernelbench_v0", 33): (
        "rows are cut from 512 x 512 to 128 x 128: 0.77 to 1.14 of the tolerance; uncut 0.23 to 0.32"
    ),
    (1, "known_moments", "kernelbench_v0", 34): (
        "rows are cut from 512 x 512 to 64 x 128: 2.96 to 3.85 of the tolerance; at 256 x 512 0.80 to 0.98"
    ),
    (1, "known_moments", "kernelbench_v0", 35): (
        "rows are cut from 512 x 512 to 64 x 128: 0.90 to 1.10 of the tolerance; at 256 x 512 0.18 to 0.26"
    ),
    (1, "rows_10_percent", "kernelbench", 94): (
        "of 1,024 rows instead of 32,768: 0.29 to 0.98 of the tolerance in four trials, 1.38 in one"
    ),
}


def main(path: str) -> int:
    """Print the tables; 1 if something is missing without an explanation."""
    checked = json.loads(Path(path).read_text(encoding="utf-8"))
    _statuses(checked)
    _controls(checked)
    unexplained = _comparison(checked)
    _tasks(checked)
    for each in unexplained:
        print(f"missing without an explanation: {each}", file=sys.stderr)
    return 1 if unexplained else 0


def _statuses(checked: Iterable[dict[str, Any]]) -> None:
    print("## How many\n\n| level | admitted | weak | degenerate | unchecked |\n|---|---|---|---|---|")
    for level in (1, 2):
        found = [each["status"] for each in checked if _place(each)[0] == level]
        counts = [str(found.count(s)) for s in ("admitted", "weak", "degenerate", "unchecked")]
        print(f"| {level} | {' | '.join(counts)} |")


def _controls(checked: list[dict[str, Any]]) -> None:
    names = [f["control"] for f in next(c for c in checked if c["accepted"])["verdict"]["findings"]]
    heads = [f"L{level} {words}" for level in (1, 2) for words in REFEREES.values()]
    print(f"\n## Which control how often\n\n| control | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name in names:
        cells = [str(len(_accepting(checked, level, name, r))) for level in (1, 2) for r in REFEREES]
        print(f"| {name} | {' | '.join(cells)} |")


def _comparison(checked: list[dict[str, Any]]) -> list[tuple[int, str, str, int]]:
    print("\n## Against the earlier screen\n")
    print("| level | control | tolerance | expected and found | expected, not found | found beside |")
    print("|---|---|---|---|---|---|")
    missing: list[tuple[int, str, str, int]] = []
    for each in EXPECTED:
        found = _accepting(checked, each.level, each.control, each.referee)
        lost = sorted(each.tasks - found)
        missing += [(each.level, each.control, each.referee, task) for task in lost]
        tolerance = "1e-4" if each.referee == "kernelbench" else "1e-2"
        cells = [_list(each.tasks & found), _list(lost), _list(found - each.tasks)]
        print(f"| {each.level} | {each.control} | {tolerance} | {' | '.join(cells)} |")
    print(
        '\nNot found, and why ("of the tolerance": worst error over atol + rtol |value|, all must be < 1):\n'
    )
    for case in missing:
        level, control, _, task = case
        print(f"- L{level}/{task} {control}: {EXPLAINED.get(case, 'not explained')}")
    return [case for case in missing if case not in EXPLAINED]


def _tasks(checked: Iterable[dict[str, Any]]) -> None:
    print("\n## Every task that accepts a control\n")
    print("| task | status | kforge | KernelBench, 1e-4 | KernelBench, 1e-2 beside | cut for KernelBench |")
    print("|---|---|---|---|---|---|")
    for each in checked:
        if each["status"] == "admitted":
            continue
        accepted = each["accepted"]
        if accepted is None:
            print(f"| {each['task']} | {each['status']} | {each['reason']} | | | |")
            continue
        beside = [c for c in accepted["kernelbench_v0"] if c not in accepted["kernelbench"]]
        cells = [", ".join(names) for names in (accepted["kforge"], accepted["kernelbench"], beside)]
        cuts = [w["changed"] for w in each["verdict"]["workloads"] if w["referee"] != "kforge"]
        cut = ", ".join(f"{name} {was} → {now}" for one in cuts for name, (was, now) in one.items())
        print(f"| {each['task']} | {each['status']} | {' | '.join(cells)} | {cut} |")


def _accepting(checked: Iterable[dict[str, Any]], level: int, control: str, referee: str) -> set[int]:
    return {
        _place(each)[1]
        for each in checked
        if _place(each)[0] == level and each["accepted"] and control in each["accepted"][referee]
    }


def _place(each: Mapping[str, Any]) -> tuple[int, int]:
    level, number = each["task"].removeprefix("kb/L").split("/")
    return int(level), int(number)


def _list(tasks: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(tasks))) or "–"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.task_admission FILE.json")
    sys.exit(main(sys.argv[1]))
