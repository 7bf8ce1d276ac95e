"""The published contract: its schema is current, its example is a candidate that plans and binds."""

import asyncio
import re
from pathlib import Path

from kforge.eval.bind import check_arguments
from kforge.eval.candidate import parse_candidate
from kforge.eval.plan import BoundPlan, LaunchPlan, plan_schema
from kforge.eval.plan_process import plan_candidate
from kforge.eval.planning.ops import COMPUTING, VIEWS
from kforge.eval.screen import screen_source
from kforge.eval.signature import Signatures, parse_signatures
from kforge.types import CandidateSource
from tests.plan.examples import DEVICE, WORKLOAD

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "candidate.md").read_text()


def test_the_published_schema_is_current() -> None:
    assert (DOCS / "schema" / "plan.json").read_text() == plan_schema()


def test_the_example_is_a_correct_candidate() -> None:
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    source = parse_candidate(found.group(1))
    assert isinstance(source, CandidateSource), source
    assert screen_source(source) is None
    plan = asyncio.run(plan_candidate(source, source.first_choice(), WORKLOAD, DEVICE, "sealed"))
    assert isinstance(plan, LaunchPlan), plan
    signatures = parse_signatures(source.device_code, source.first_choice())
    assert isinstance(signatures, Signatures)
    assert isinstance(check_arguments(plan, signatures), BoundPlan)


def test_every_operator_and_every_rule_is_documented() -> None:
    assert [name for name in (*COMPUTING, *VIEWS) if name not in PAGE] == []
    package = Path(parse_signatures.__code__.co_filename).parent
    rules = set()
    modules = "plan_check launch_check layout_cuda bind screen signature plan_process"
    for module in modules.split():
        code = (package / f"{module}.py").read_text()
        rules |= set(re.findall(r'\bRefused\(\s*"(\w+)"', code))
        rules |= set(re.findall(r'ScreenedOut\([^()]*(?:\([^()]*\)[^()]*)*, "(\w+)"\s*,?\s*\)', code))
    assert len(rules) > 15
    assert sorted(rule for rule in rules if f"`{rule}`" not in PAGE) == []
