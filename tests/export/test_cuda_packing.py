"""What a CUDA export hands to the driver, by a driver that writes it down: every feature of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.eval.cuda_code import H100
from tests.export.exporting import CANDIDATES, export_text, in_plain_process
from tests.export.test_export_gpu import FEATURES

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

# They pass maps or arrays; a struct begins with the input; an operator or a copy reads some inputs.
WITHOUT_BARE_POINTERS = ("relu_pointers", "relu_tma", "relu_tma_maps")
# On CPU memory: fills and copies really happen, launches are written down.
PROGRAM = """
import contextlib, ctypes, types
torch.cuda.device = lambda device: contextlib.nullcontext()
torch.cuda.synchronize = lambda device=None: None
torch.cuda.current_device = lambda: 0
torch.cuda.current_stream = lambda device=None: types.SimpleNamespace(cuda_stream=7)
torch.cuda.get_device_properties = lambda device: types.SimpleNamespace(
    major=9, minor=0, multi_processor_count=132, name="H100")
torch.cuda.is_current_stream_capturing = lambda: False
found = {}

class Fake:
    def __init__(self): self.launches, self.maps, self.fills, self.copies, self.asked = [], [], 0, 0, []
    def primary_context(self, index): return 1
    def enter(self, context): pass
    def load(self, image): return image[:4] == b"\\x7fELF"
    def kernel(self, module, name): return name
    def attribute(self, kernel, name): return 0
    def set_attribute(self, kernel, name, value): self.asked.append([name, value])
    def resident_blocks(self, kernel, threads, shared): return 2
    def fill(self, address, value, size, stream): ctypes.memset(address, value, size); self.fills += 1
    def copy(self, to, source, size, stream): ctypes.memmove(to, source, size); self.copies += 1
    def upload(self, to, data, stream): ctypes.memmove(to, data, len(data))
    def encode_map(self, place, described, address): self.maps.append(place % 64)
    def launch(self, config, kernel, values, name):
        arguments = [ctypes.string_at(v, 8).hex() for v in values if v]
        attributes = [[a.id, *a.value.words[:3]] for a in config.attributes[: config.count]]
        self.launches.append({"name": name, "grid": [*config.grid], "block": [*config.block], "stream":
            config.stream, "shared": config.shared_bytes, "attributes": attributes, "arguments": arguments})

for name in json.loads(NAMES):
    home = importlib.import_module(name)
    runner_file = importlib.import_module(f"{name}.cuda_runner")
    guard = importlib.import_module(f"{name}.guard")
    contents = importlib.import_module(f"{name}.contents")
    fake = Fake()
    runner_file.driver = lambda: fake
    runner = runner_file.CudaRunner(torch.device("cpu", 0))
    workload = guard.Workload(0, contents.plans()["workloads"][0])
    given = workload.match(home.ModelNew(*home.get_init_inputs()), home.get_inputs(), "cpu")
    with torch.no_grad():
        result = runner.run(0, given)
    found[name] = vars(fake) | {
        "pointers": [t.data_ptr().to_bytes(8, "little").hex() for t in (*given, result)],
        "shape": list(result.shape),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - JSON
    home = tmp_path_factory.mktemp("exports")
    for name, task in FEATURES.items():
        text = (CANDIDATES / f"{name}.py").read_text()
        export_text(text, home / name, task=task, size="small", device=H100, cache_dir=cache)
    names = "'" + str([*FEATURES]).replace("'", '"') + "'"
    return in_plain_process(PROGRAM.replace("NAMES", names), home / "any")


@pytest.mark.parametrize("name", FEATURES)
def test_every_pointer_arrives_on_the_callers_stream(name: str, found: Any) -> None:  # noqa: ANN401
    told = found[name]
    assert told["launches"]
    assert {launch["stream"] for launch in told["launches"]} == {7}
    passed = {value for launch in told["launches"] for value in launch["arguments"]}
    given, result = told["pointers"][0], told["pointers"][-1]
    if name in WITHOUT_BARE_POINTERS:
        return
    assert name in ("relu_copy", "instance_norm_tf32") or given in passed
    assert name == "relu_struct" or result in passed


def test_features_reach_the_driver(found: Any) -> None:  # noqa: ANN401
    def attributes(name: str) -> list[list[int]]:
        return [a for launch in found[name]["launches"] for a in launch["attributes"]]

    assert [2, 1, 0, 0] in attributes("layernorm_persistent")
    assert [4, 4, 1, 1] in attributes("softmax_cluster")
    assert [6, 1, 0, 0] in attributes("softmax_pdl")
    assert found["softmax_waves"]["launches"][0]["grid"][0] % (2 * 132) == 0
    assert any(name == 8 and value >= 16 * 8 * 1024 for name, value in found["layernorm_persistent"]["asked"])
    assert found["relu_tma_maps"]["maps"] == [0] * 4
    assert found["matmul_split_k"]["fills"] == 1
    assert found["matmul_counters"]["fills"] >= 1
    assert found["relu_copy"]["copies"] == 1
