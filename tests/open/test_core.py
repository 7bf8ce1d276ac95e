"""The open track's verifier: honest answers pass, wrong and hostile ones end as what they are."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from pathlib import Path

import pytest

from kforge.errors import MissingPrerequisite
from kforge.eval.open.bench import floored_ratio, hindered
from kforge.eval.open.layers import LAYERS
from kforge.eval.open.layers_here import layers_here
from kforge.types import CheckFailed, Outcome, Passed, TimedOut
from tests.open.ground import Scene, model_new, quick

HONEST = "return torch.relu(self.fc(x))"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """All defences on."""
    return Scene(tmp_path_factory.mktemp("open"), quick())


def failed(outcome: Outcome) -> CheckFailed:
    """The outcome, which must be a failed check."""
    assert isinstance(outcome, CheckFailed), outcome
    return outcome


@pytest.mark.parametrize(
    "forward",
    [
        HONEST,
        "return torch.clamp(torch.addmm(self.fc.bias, x, self.fc.weight.t()), min=0)",
        "y = self.fc(x)\nreturn y.relu_()",
    ],
)
def test_honest_answers_pass(scene: Scene, forward: str) -> None:
    found = scene.measure(model_new(forward))
    assert isinstance(found.outcome, Passed), found
    assert found.outcome.workloads[0].timed_outputs_checked >= 3
    assert set(found.sandbox) == set(LAYERS)


@pytest.mark.parametrize(
    ("forward", "kind", "words"),
    [
        ("return torch.relu(self.fc(x)) * 1.001", "mismatch", "output"),
        ("return torch.zeros(64, 64)", "mismatch", "output"),
        ("return torch.full((64, 64), float('nan'))", "non_finite", "output"),
        ("return torch.relu(self.fc(x))[:, :1]", "mismatch", "has shape (64, 1)"),
        ("return torch.relu(self.fc(x))[:1]", "mismatch", "has shape (1, 64)"),
        ("return torch.relu(self.fc(x)).double()", "mismatch", "has type torch.float64"),
        ("return torch.relu(self.fc(x)).t().contiguous().t()", "mismatch", "has strides"),
        ("return (torch.relu(self.fc(x)), x)", "mismatch", "returned 2 outputs"),
        ("return x", "mismatch", "output"),
        ("return None", "launch", "forward returned NoneType"),
        ("y = torch.relu(self.fc(x))\nx.add_(1.0)\nreturn y", "input_changed", "its input 0"),
        ("raise ValueError('this is what it says')", "launch", "this is what it says"),
        ("os._exit(3)", "crash", "exit code 3"),
        ("import ctypes\nctypes.string_at(0)", "crash", "SIGSEGV"),
    ],
)
def test_wrong_answers(scene: Scene, forward: str, kind: str, words: str) -> None:
    found = failed(scene.measure(model_new(forward)).outcome)
    assert found.kind == kind, found
    assert words in found.reason


def test_a_file_that_cannot_be_imported(scene: Scene) -> None:
    found = failed(scene.measure(model_new(HONEST, before="import no_such_module")).outcome)
    assert "No module named 'no_such_module'" in found.reason


def test_weights_by_heart_are_wrong(scene: Scene) -> None:
    init = "torch.manual_seed(0)\nself.fc = nn.Linear(features, features)"
    assert failed(scene.measure(model_new(HONEST, init=init)).outcome).kind == "mismatch"


def test_endless_loops_end_at_the_deadline(tmp_path: Path) -> None:
    scene = Scene(tmp_path, quick())
    found = scene.measure(model_new("while True:\n    pass")).outcome
    assert isinstance(found, TimedOut), found
    assert found.stage == "check"


# Each must be refused inside the sandbox, or the candidate says so by raising; else it would pass.
REFUSED = {
    "writing outside": "open('/tmp/kforge-escape', 'w')",
    "writing to the installation": "open(os.path.join(os.path.dirname(torch.__file__), 'x.py'), 'w')",
    "reading the password file": "open('/etc/passwd').read()",
    "a TCP socket": "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
    "a datagram": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a local socket": "import socket\nsocket.socket(socket.AF_UNIX)",
    "tracing": "import ctypes\nassert ctypes.CDLL(None, use_errno=True).ptrace(0, 0, 0, 0) == 0",
    "mounting": "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0",
    "signals to others": "os.kill(-1, 0)",
    "seeing other processes": "assert len([n for n in os.listdir('/proc') if n.isdigit()]) > 3",
    "secrets in the environment": (
        "text = open('/proc/self/environ').read() + repr(dict(os.environ))\nassert 'PYTEST_CURRENT' in text"
    ),
    "being root": "assert os.geteuid() == 0",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_candidate_may_not_do(scene: Scene, name: str) -> None:
    indented = "\n".join("    " + line for line in REFUSED[name].splitlines())
    forward = f"try:\n{indented}\nexcept Exception:\n    raise RuntimeError('refused')\n{HONEST}"
    found = failed(scene.measure(model_new(forward)).outcome)
    assert found.reason == "calling ModelNew.forward raised RuntimeError: refused", found


def test_what_a_candidate_may_do(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    """Write to a scratch directory of its own, start programs, and say much, which goes nowhere."""
    before = "os.write(1, b'x' * (100 << 20))\nprint('y' * (1 << 20), file=sys.stderr)"
    init = """
import subprocess
open(os.path.join(os.environ['TMPDIR'], 'a'), 'w').write('x')
assert subprocess.run(['true']).returncode == 0
"""
    assert isinstance(scene.measure(model_new(HONEST, init=init, before=before)).outcome, Passed)
    told = capfd.readouterr()
    assert "xxxx" not in told.out
    assert "yyyy" not in told.err


def test_a_fork_bomb_is_bounded_and_gone(scene: Scene) -> None:
    forward = "while True:\n    try:\n        os.fork()\n    except OSError:\n        raise"
    found = scene.measure(model_new(forward)).outcome
    assert isinstance(found, CheckFailed | TimedOut), found
    assert isinstance(scene.measure(model_new(HONEST)).outcome, Passed)


def test_missing_layers_are_named_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, quick(without="landlock"))
    found = scene.measure(model_new(HONEST))
    assert isinstance(found.outcome, Passed)
    assert found.sandbox["landlock"] is False
    marker = tmp_path / "ran"
    tmp_path.chmod(0o777)
    with pytest.raises(MissingPrerequisite, match="lacks landlock"):
        scene.measure(model_new(HONEST, before=f"open({str(marker)!r}, 'w')"), require_sandbox=True)
    assert not marker.exists()


def test_what_is_required_is_what_holds(scene: Scene) -> None:
    """Whatever this machine offers: refused exactly where a layer is missing."""
    held = scene.measure(model_new(HONEST)).sandbox
    if all(held.values()):
        assert isinstance(scene.measure(model_new(HONEST), require_sandbox=True).outcome, Passed)
    else:
        with pytest.raises(MissingPrerequisite):
            scene.measure(model_new(HONEST), require_sandbox=True)


def test_what_doctor_promises_is_what_a_candidate_gets(scene: Scene) -> None:
    assert layers_here() == scene.measure(model_new(HONEST)).sandbox
    assert layers_here("/bin/false") == dict.fromkeys(LAYERS, False)


def test_no_control_group_and_no_scratch_is_left(scene: Scene) -> None:
    def left() -> set[str]:
        places = [tempfile.gettempdir(), *glob.glob("/sys/fs/cgroup/**/", recursive=True)]
        return {name for place in places for name in glob.glob(os.path.join(place, "kforge-open-*"))}

    before = left()
    scene.measure(model_new("raise ValueError"))
    # Other tests' candidates come and go beside this one; what stays is left.
    new, deadline = left() - before, time.monotonic() + 120.0
    while new & left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert new & left() == set()


def test_the_ratio_is_of_times_above_the_floor() -> None:
    found = floored_ratio([30.0, 31.0, 29.0], [20.0, 20.0, 20.0], 10.0)
    assert found.speedup == pytest.approx(2.0, rel=0.03)
    assert found.low <= 2.0 <= found.high
    # Not resolved: neither infinity nor a division by zero.
    assert floored_ratio([20.0] * 3, [10.0] * 3, 10.0).speedup == pytest.approx(10.0)


def test_eager_that_is_slower_beside_a_candidate_than_before_it() -> None:
    assert hindered([100.0, 101.0, 99.0], [104.0, 108.0, 103.0]) is None
    assert hindered([100.0, 101.0, 99.0], [50.0, 51.0]) is None  # the clocks were low before
    found = hindered([100.0, 101.0, 99.0], [190.0, 210.0, 200.0])
    assert found is not None
    assert "eager took 200.0 us beside the candidate and 100.0 us before" in found.reason
