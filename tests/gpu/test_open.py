"""Published answers on the card: honest ones pass, wrong ones are told apart, the sandbox is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from kforge.types import CheckFailed, DeviceInfo, Passed, TimedOut
from kforge.workers.hardware import choose_device
from tests.open.ground import Scene, model_new, quick


@pytest.fixture(scope="module")
def card() -> DeviceInfo:
    """The first card."""
    return choose_device("cuda", "auto")


@pytest.fixture(scope="module")
def scene(card: DeviceInfo, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The small task on the card, all defences on."""
    return Scene(tmp_path_factory.mktemp("open"), quick(), device=card)


HONEST = {
    "as the reference": "return torch.relu(self.fc(x))",
    "other operators": "return torch.addmm(self.fc.bias, x, self.fc.weight.t()).clamp_(min=0)",
    "on a stream of its own": """
stream = torch.cuda.Stream()
stream.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(stream):
    y = torch.relu(self.fc(x))
torch.cuda.current_stream().wait_stream(stream)
return y
""",
    "by way of the host": "return torch.relu(self.fc(x)).cpu().to(x.device)",
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_answers_pass(scene: Scene, name: str) -> None:
    found = scene.measure(model_new(HONEST[name]))
    assert isinstance(found.outcome, Passed), found
    assert found.outcome.workloads[0].timed_outputs_checked >= 3
    # The process namespace may have to be shared for the driver; these need not.
    for layer in ("landlock", "seccomp", "no_new_privileges", "no_capabilities", "environment", "limits"):
        assert found.sandbox[layer], found.sandbox


WRONG = {
    "half precision": ("return torch.relu(self.fc(x).half().float())", "mismatch"),
    "the first answer for ever": (
        "if not hasattr(self, 'kept'):\n    self.kept = torch.relu(self.fc(x))\nreturn self.kept",
        "mismatch",
    ),
    "an input written to": ("y = torch.relu(self.fc(x))\nx.mul_(2.0)\nreturn y", "input_changed"),
    "another shape": ("return torch.relu(self.fc(x))[:1]", "mismatch"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers(scene: Scene, name: str) -> None:
    forward, kind = WRONG[name]
    found = scene.measure(model_new(forward)).outcome
    assert isinstance(found, CheckFailed), found
    assert found.kind == kind, found


def test_work_left_on_a_stream_is_not_an_answer(scene: Scene) -> None:
    """The reply comes while the card still computes; the outputs are read before it is done."""
    forward = """
if not hasattr(self, 'side'):
    self.side = torch.cuda.Stream()
    self.place = torch.zeros_like(x)
with torch.cuda.stream(self.side):
    torch.cuda._sleep(200_000_000)
    self.place.copy_(torch.relu(self.fc(x)))
torch.cuda.synchronize = lambda *a: None
return self.place
"""
    assert isinstance(scene.measure(model_new(forward)).outcome, CheckFailed | TimedOut)


def test_the_card_serves_the_next_one_after_an_illegal_address(scene: Scene, tmp_path: Path) -> None:
    forward = "return torch.relu(self.fc(x[torch.full((64,), 10**9, device=x.device)]))"
    assert isinstance(scene.measure(model_new(forward)).outcome, CheckFailed)
    assert isinstance(scene.measure(model_new(HONEST["as the reference"])).outcome, Passed)
