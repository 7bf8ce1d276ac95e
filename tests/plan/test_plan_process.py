"""The planning process against candidates that misbehave, and honest ones."""

import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kforge.eval.plan import LaunchPlan, LaunchStep, OpStep
from kforge.eval.plan_process import PLAN_LIMITS, plan_candidate
from kforge.types import InfraFailed, ScreenedOut, TimedOut, Track
from tests.plan.examples import DEVICE, PLAN, WORKLOAD, candidate

Planned = LaunchPlan | ScreenedOut | TimedOut | InfraFailed


def planned(body: str, *, track: Track = "sealed", wall_s: float = 10.0, rest: str = "") -> Planned:
    plan = (
        body
        if body.startswith("def ")
        else "def plan(k, x):\n" + "".join(f"    {s}\n" for s in body.split("\n"))
    )
    source = candidate(plan, rest=rest)
    limits = replace(PLAN_LIMITS, wall_s=wall_s)
    return asyncio.run(plan_candidate(source, source.first_choice(), WORKLOAD, DEVICE, track, limits=limits))


def refused(body: str, *, track: Track = "sealed", rest: str = "") -> ScreenedOut:
    outcome = planned(body, track=track, rest=rest)
    assert isinstance(outcome, ScreenedOut), outcome
    return outcome


TUNE = 'TUNE = {"BLOCK": [64, 128]}'
GOOD = "out = k.empty((4, 8, 14, 14))\nk.launch('inorm', (32,), (64,), [x, out, 1, 1.0])\nreturn out"


def test_an_honest_plan_comes_through() -> None:
    plan = planned(PLAN, rest=TUNE)
    assert isinstance(plan, LaunchPlan)
    op, launch = plan.steps
    assert isinstance(op, OpStep)
    assert isinstance(launch, LaunchStep)
    assert (launch.grid, launch.block) == ((32,), (64,))
    assert plan.library_ops == ("conv2d",)
    assert plan.tensors[op.out].shape == (4, 8, 14, 14)
    assert plan.storage_of(plan.outputs[0]).role == "alloc"


def test_a_plan_that_prints_is_not_disturbed() -> None:
    plan = planned("print('{\"plan\": 1}' * 100000)\n" + GOOD)
    assert isinstance(plan, LaunchPlan)


def test_a_forged_result_on_every_descriptor_is_ignored() -> None:
    forge = (
        "import os\nfor fd in range(1, 64):\n    try:\n"
        '        os.write(fd, b\'\\n{"plan": {"forged": 1}}\\n\')\n'
        "    except OSError:\n        pass\n"
    )
    plan = planned(forge + GOOD)
    assert isinstance(plan, LaunchPlan)
    assert planned(GOOD) == plan


def test_a_plan_that_loops_for_ever_times_out() -> None:
    assert planned("while True: pass", wall_s=1.0) == TimedOut("plan() did not end within 1 s", "plan", 1.0)


def test_a_plan_that_floods_its_output_is_drained_and_times_out() -> None:
    outcome = planned("import sys\nwhile True: sys.stdout.write('x' * 1000000)", wall_s=1.0)
    assert isinstance(outcome, TimedOut)


def test_a_flood_on_the_result_descriptor_is_cut() -> None:
    flood = (
        "import os\nfor fd in range(3, 64):\n    try:\n"
        "        for i in range(40): os.write(fd, b'x' * 10**6)\n"
        "    except OSError: pass\n"
    )
    outcome = refused(flood + GOOD)
    assert "result channel" in outcome.reason


ESCAPES = {
    "read a file": ("open('/etc/passwd').read()", "PermissionError"),
    "list files": ("import os; os.listdir('/')", "PermissionError"),
    "write a file": ("open('/tmp/kforge-escape', 'w')", "PermissionError"),
    "fork": ("import os; os.fork()", "PermissionError"),
    "exec": ("import os; os.execv('/bin/true', ['true'])", "PermissionError"),
    "kill": ("import os; os.kill(1, 9)", "PermissionError"),
    "exit": ("import os; os._exit(0)", "exit code 0"),
    "abort": ("import os; os.abort()", "signal"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "signal 11"),
    "raise": ("raise SystemExit('bye')", "SystemExit: bye"),
    "huge message": ("raise ValueError('x' * 10**7)", "ValueError: x"),
    "hostile exception": (
        "bad = lambda s: [][0]\nraise type('E', (BaseException,), {'__str__': bad})()",
        "E: ",
    ),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "1 TB of host": ("x = 'a' * 10**12", "MemoryError"),
    "deep value": ("v = []\nfor i in range(10**5): v = [v]\nk.launch('inorm', 1, 1, [v])", "pass a tensor"),
    "line": ("y = 1\nraise IndexError('here')", r"line \d+: IndexError: here"),
    "recursion": ("f = lambda: f()\nf()", "RecursionError"),
    "forged recorder": ("k._steps.append({'kind': 'launch', 'kernel': 'a'})\n" + GOOD, "well-formed"),
    "forged constant": ("k._steps.append({'kind': 'launch', 'a': 10**400})\n" + GOOD, "well-formed"),
    "not json": ("k._steps.append(k)\n" + GOOD, "TypeError|not JSON"),
    "deep json": (
        "v = []\nfor i in range(900): v = [v]\nk._steps.append({'kind': v})\n" + GOOD,
        "no plan|well-formed",
    ),
    "tensor method": ("x.sum()", r"no values and no .sum"),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_an_escape_ends_in_a_reason(name: str) -> None:
    body, reason = ESCAPES[name]
    outcome = refused(body)
    assert re.search(reason, outcome.reason), outcome.reason
    assert len(outcome.reason) < 1500
    assert not Path("/tmp/kforge-escape").exists()


def test_environment_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    outcome = refused("import os\nraise ValueError(str(dict(os.environ)))")
    assert "sk-secret" not in outcome.reason
    assert "ValueError" in outcome.reason


def test_valid_decides_about_variants() -> None:
    rest = TUNE + "\ndef valid(tune):\n    return tune.BLOCK > 100 and tune['BLOCK'] > 100\n"
    outcome = refused(PLAN, rest=rest)
    assert outcome.rule == "variant"
    assert "64" in outcome.reason
    source = candidate(PLAN, rest=rest)
    plan = asyncio.run(plan_candidate(source, {"BLOCK": 128}, WORKLOAD, DEVICE, "sealed"))
    assert isinstance(plan, LaunchPlan)


def test_a_candidate_for_another_language_does_not_start() -> None:
    source = replace(candidate(), language="cuda")
    outcome = asyncio.run(plan_candidate(source, {"BLOCK": 64}, WORKLOAD, DEVICE, "sealed"))
    assert isinstance(outcome, ScreenedOut)
    assert outcome.rule == "language"


WRONG = {
    "1 TB": ("k.zeros((10**6, 10**6), 'u8')\n" + GOOD, "memory", "device has"),
    "grid 0": (GOOD.replace("(32,)", "(0,)"), "grid", "'inorm'"),
    "grid 2^40": (GOOD.replace("(32,)", "(2**40,)"), "grid", "'inorm'"),
    "block": (GOOD.replace("(64,)", "(2048,)"), "block", "1024"),
    "grid rank": (GOOD.replace("(32,)", "(32, 1)"), "grid", "2 dimensions"),
    "grid float": (GOOD.replace("(32,)", "(32 / 2,)"), "plan", "use //"),
    "grid 4-d": (GOOD.replace("(32,)", "(1, 1, 1, 1)"), "plan", "1 to 3"),
    "no launch": ("return k.empty((4, 8, 14, 14))", "no_launch", "k.launch"),
    "not launched": (GOOD.replace("return out", "return k.empty((4, 8, 14, 14))"), "outputs", "no k.launch"),
    "input returned": (GOOD.replace("return out", "return x"), "outputs", "input x"),
    "shape": (GOOD.replace("14, 14)", "14, 13)"), "outputs", "the reference gives"),
    "dtype": (GOOD.replace("14, 14))", "14, 14), 'f64')"), "outputs", "float64"),
    "strides": (
        GOOD.replace("k.empty((4, 8, 14, 14))", "k.empty_strided((4, 8, 14, 14), (1568, 1, 112, 8))"),
        "outputs",
        "strides",
    ),
    "two outputs": (GOOD.replace("return out", "return out, out"), "outputs", "returns 2"),
    "nothing": (GOOD.replace("return out", "pass"), "plan", "not None"),
    "memset input": ("k.memset(x, 0)\n" + GOOD, "read_only", "input x"),
    "copy to param": (
        "k.copy(k.param('conv.bias'), k.buffer('bn.running_mean'))\n" + GOOD,
        "read_only",
        "conv.bias",
    ),
    "copy unwritten": ("k.copy(k.empty(4), k.empty(4))\n" + GOOD, "unwritten", "nothing has written"),
    "op on unwritten": (
        "k.op('mm', k.empty((2, 2)), k.empty((2, 2)))\n" + GOOD,
        "unwritten",
        "nothing has written",
    ),
    "memset range": ("k.memset(k.empty(4), 0, (0, 5))\n" + GOOD, "bounds", "0..5"),
    "param": ("k.param('weight')\n" + GOOD, "plan", "conv.weight, conv.bias"),
    "init": ("k.init('eps')\n" + GOOD, "plan", "divide_by, kernel_size"),
    "tune": ("k.tune.TILE\n" + GOOD, "plan", "k.tune has no 'TILE'"),
    "device": ("k.device.speed\n" + GOOD, "plan", "sm_count"),
    "k": ("k.alloc(3)\n" + GOOD, "plan", "k has no alloc"),
    "op name": ("k.op('softmax', x)\n" + GOOD, "plan", "conv2d"),
    "view outside": ("k.view(x, 3000, 'f32', (100,))\n" + GOOD, "plan", "ends at byte"),
    "steps": ("o = k.empty(4)\nfor i in range(5000): k.memset(o, 0)\n" + GOOD, "plan", "4096 steps"),
    "nan": (GOOD.replace("1.0]", "float('nan')]"), "plan", "nan"),
    "i32": ("k.i32(2**31)\n" + GOOD, "plan", "2147483647"),
    "big int": (GOOD.replace("out, 1,", "out, 2**63,"), "plan", "argument 2"),
    "str argument": (GOOD.replace("out, 1,", "out, 'a',"), "plan", "argument 2"),
    "local": (GOOD.replace("1.0]", "1.0, k.local('f32', 10000)]"), "local_memory", "40000"),
    "cooperative": (
        GOOD.replace("1.0])", "1.0], cooperative=True)"),
        "plan",
        "cooperative is not available for sycl",
    ),
    "cluster": (GOOD.replace("1.0])", "1.0], cluster=(2,))"), "plan", "cluster"),
    "pdl": (GOOD.replace("1.0])", "1.0], pdl=True)"), "plan", "pdl"),
    "carveout": (GOOD.replace("1.0])", "1.0], carveout=50)"), "plan", "carveout"),
    "shared": (GOOD.replace("1.0])", "1.0], shared_bytes=64)"), "plan", "k.local"),
    "waves": (GOOD.replace("(32,)", "{'waves': 1}"), "plan", "waves"),
    "after": (GOOD.replace("1.0])", "1.0], after=[7])"), "plan", "after"),
    "tensor map": ("k.tensor_map(x, (8, 8))\n" + GOOD, "plan", "tensor_map"),
    "signature": ("def plan(k):\n    return 1\n", "plan", "TypeError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plan_gets_rule_and_reason(name: str) -> None:
    body, rule, reason = WRONG[name]
    outcome = refused(body)
    assert outcome.rule == rule, outcome
    assert reason in outcome.reason, outcome


def test_the_pure_track_has_no_library_operators_but_views() -> None:
    assert refused(PLAN, track="pure", rest=TUNE).rule == "library_op"
    body = "k.op('transpose', x, 0, 1)\n" + GOOD
    assert isinstance(planned(body, track="pure"), LaunchPlan)


def test_steps_may_name_earlier_ones() -> None:
    body = "s = k.memset(k.empty(4), 255, (1, 2))\n" + GOOD.replace("1.0])", "1.0], after=[s])")
    assert isinstance(planned(body), LaunchPlan)


def test_no_process_is_left_behind() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text().split()  # other tests of this process may have a fork server
    started = time.monotonic()
    planned("while True: pass", wall_s=0.5)
    assert children.read_text().split() == before
    assert time.monotonic() - started < 60
