"""What a soak draws from: honest candidates, hostile ones, processes hit from outside; what must follow."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from kforge.types import CheckFailed, Language, Outcome, ScreenedOut, TimedOut
from tests.gpu import test_wrong
from tests.survival import scene, test_gpu
from tests.survival.scene import Who

GPU_CANDIDATES = Path(test_wrong.__file__).parent / "candidates"
RIGHT = frozenset({"passed", "unstable"})  # unstable is no verdict, and no wrong one
INFRA = RIGHT | {"infra_failed"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of candidate.

    Attributes:
        expected: what its outcome may be, as ``name_of`` says it.
        hit: a process that is sent a signal soon after the check began, and the signal.
    """

    name: str
    text: str
    expected: frozenset[str]
    hit: tuple[Who, signal.Signals] | None = None


def name_of(outcome: Outcome) -> str:
    """An outcome in one word, with its kind, stage or rule where it has one."""
    match outcome:
        case CheckFailed(status=status, kind=detail):
            return f"{status}:{detail}"
        case TimedOut(status=status, stage=detail):
            return f"{status}:{detail}"
        case ScreenedOut(status=status, rule=detail):
            return f"{status}:{detail}"
        case _:
            return outcome.status


def _bad(name: str, text: str, *expected: str) -> Entry:
    return Entry(name, text, frozenset(expected))


def _hits(text: str) -> list[Entry]:
    kill, stop = signal.SIGKILL, signal.SIGSTOP
    crash = RIGHT | {"check_failed:crash"}
    return [
        Entry("kill -9 of the verifier", text, INFRA, ("verifier", kill)),
        Entry("kill -9 of the fork server", text, INFRA, ("fork server", kill)),
        Entry("SIGSTOP of the verifier", text, INFRA, ("verifier", stop)),
        Entry("kill -9 of the runner", text, crash, ("runner", kill)),
        Entry("kill -9 of the baseline", text, INFRA, ("baseline", kill)),
        Entry(
            "SIGSTOP of the runner", text, RIGHT | {"timed_out:check", "timed_out:bench"}, ("runner", stop)
        ),
    ]


def _in_plan(text: str, lines: str) -> str:
    head, mark, tail = text.partition("def plan(k, x):\n")
    return head + mark + "".join(f"    {line}\n" for line in lines.splitlines()) + tail


FORK_BOMB = "import os\nwhile True: os.fork()"
DISK = "f = open('/tmp/kforge-soak-fill', 'wb')\nwhile True: f.write(b'x' * (1 << 20))"
FLOOD = "import os\nfor _ in range(1024): os.write(1, b'x' * (1 << 20))"
# The planning process refuses some of these with an exception, others by its limits.
REFUSED = ("screened_out:plan", "screened_out:token", "screened_out:import", "timed_out:plan")


def _plans(text: str) -> list[Entry]:
    memory = "s = k.scratch(k.device.memory_bytes - (1 << 28))"
    return [
        _bad("fork bomb in plan", _in_plan(text, FORK_BOMB), *REFUSED),
        _bad("disk filler in plan", _in_plan(text, DISK), *REFUSED),
        Entry("1 GB of stdout in plan", _in_plan(text, FLOOD), RIGHT | frozenset(REFUSED)),
        _bad("endless plan", _in_plan(text, "while True: pass"), "timed_out:plan"),
        _bad("all memory", _in_plan(text, memory), "screened_out:memory"),
    ]


def _sycl(body: str) -> str:
    return scene.CANDIDATE.replace("BODY", body)


def sycl_mix() -> tuple[list[Entry], list[Entry]]:
    """(honest, hostile) SYCL candidates of the tiny task."""
    honest = [
        ("ternary", scene.HONEST),
        ("fmax", "y[i] = sycl::fmax(v, 0.0f);"),
        ("branch", "if (v > 0.0f) y[i] = v; else y[i] = 0.0f;"),
        ("mask", "y[i] = v * (float)(v > 0.0f);"),
        ("slow", "float s = 0.0f; for (int r = 0; r < 64; ++r) s = sycl::fmax(s, v); y[i] = s;"),
    ]
    right = [Entry(name, _sycl(body), RIGHT) for name, body in honest]
    good, first = scene.HONEST, right[0].text
    recursion = "template <int N> struct T { static const int v = T<N + 1>::v; };\n"
    bomb = first.replace("namespace sx", recursion + "namespace sx")
    endless = _sycl(f"volatile float* p = y; while (p[0] != 12345.0f) {{ }} {good}")
    wrong = [
        _bad("endless kernel", endless, "timed_out:check"),
        _bad("far store", _sycl(f"{good} y[i + (1LL << 40)] = v;"), "check_failed:crash"),
        _bad("wrong values", _sycl("y[i] = v;"), "check_failed:mismatch"),
        _bad("one element behind", _sycl(f"{good} if (i == 0) y[n] = 1.0f;"), "check_failed:guard"),
        _bad("an input", _sycl(f"{good} if (i == 0) ((float*)x)[7] = 3.0f;"), "check_failed:input_changed"),
        _bad("does not compile", _sycl("y[i] = undeclared;"), "build_failed"),
        _bad("endless templates", bomb.replace(good, "y[i] = T<0>::v;"), "build_failed", "timed_out:build"),
    ]  # fmt: skip
    return right, [*wrong, *_plans(first), *_hits(first)]


def cuda_mix() -> tuple[list[Entry], list[Entry]]:
    """(honest, hostile) CUDA candidates of kb/L1/19."""
    right = [
        Entry(path.stem, path.read_text(), RIGHT)
        for path in sorted(GPU_CANDIDATES.glob("relu_*.py"))
        if path.stem not in ("relu_tma", "relu_tma_maps")  # they need a card of the Hopper kind
    ]
    wrong = [
        _bad(name, text, {"check": "timed_out:check", "crash": "check_failed:crash"}[detail])
        for name, (text, _, detail) in test_gpu.HOSTILE.items()
    ]
    wrong += [
        _bad(name, test_wrong.text(body), *(f"check_failed:{kind}" for kind in sorted(kinds)))
        for name, (body, kinds) in test_wrong.WRONG.items()
    ]
    first = test_wrong.text(test_wrong.HONEST)
    return right, [*wrong, *_plans(first), *_hits(first)]


MIXES = {"sycl": sycl_mix, "cuda": cuda_mix}


def mix(language: Language) -> tuple[list[Entry], list[Entry]]:
    """(honest, hostile) candidates of a language."""
    return MIXES[language]()
