"""CUDA exports on a machine without a card: built, imported without kforge, and eager with a warning."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from kforge.eval.cuda_toolkit import toolkit
from kforge.export.runtime import cuda_driver
from tests.eval.cuda_code import H100
from tests.export.exporting import CANDIDATES, export_text, in_plain_process

pytestmark = pytest.mark.cuda

USES = """
found = {}
for name in ("norm", "maps"):
    home = importlib.import_module(name)
    old, new = home.Model(*home.get_init_inputs()), home.ModelNew(*home.get_init_inputs())
    new.load_state_dict(old.state_dict())
    x, = home.get_inputs()
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same = [bool(torch.equal(new(x), old(x))) for _ in range(2)]
    try:
        new(x.requires_grad_())
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    checks = importlib.import_module(f"{name}.test_export").run_all()
    found[name] = {
        "same": same, "warned": [str(w.message) for w in caught], "refused": refused,
        "checks": sorted(set(checks.values())), "counts": new.fast_path.counts,
    }
print(json.dumps(found))
"""


def test_it_is_built_and_runs_eager_on_cpu_tensors_with_one_warning(cache: Path, tmp_path: Path) -> None:
    exports = (("norm", "layernorm_two_stage", "kb/L1/40"), ("maps", "relu_tma_maps", "kb/L1/19"))
    for name, file, task in exports:
        text = (CANDIDATES / f"{file}.py").read_text()
        written = export_text(
            text, tmp_path / name, task=task, size="small", device=H100, cache_dir=cache
        )  # fmt: skip
        assert written.provenance["arch"] == "sm_90a"
        assert (tmp_path / name / "kernels.cubin").read_bytes().startswith(b"\x7fELF")
        assert "__global__" in (tmp_path / name / "device_code.cu").read_text()
    for found in in_plain_process(USES, tmp_path / "norm").values():
        assert found["same"] == [True, True]
        (warning,) = found["warned"]
        assert "on cpu; the kernels run on cuda" in warning
        assert "torch.no_grad()" in found["refused"]
        assert found["counts"] == {"kernels": 0, "eager": 2}


def headers() -> list[str]:
    """Folders of the toolkit's headers, without the stand-ins that device code gets."""
    return [folder for folder in toolkit().include if "nvrtc_headers" not in folder]


def test_structures_and_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    """The driver is called through ctypes: cuda.h says what its structures look like."""
    config, attribute = cuda_driver.LaunchConfig, cuda_driver.Attribute
    wanted = {
        "sizeof(CUlaunchConfig)": ctypes.sizeof(config),
        "offsetof(CUlaunchConfig, blockDimX)": config.block.offset,
        "offsetof(CUlaunchConfig, sharedMemBytes)": config.shared_bytes.offset,
        "offsetof(CUlaunchConfig, hStream)": config.stream.offset,
        "offsetof(CUlaunchConfig, attrs)": config.attributes.offset,
        "offsetof(CUlaunchConfig, numAttrs)": config.count.offset,
        "sizeof(CUlaunchAttribute)": ctypes.sizeof(attribute),
        "offsetof(CUlaunchAttribute, value)": attribute.value.offset,
        "sizeof(CUtensorMap)": cuda_driver.TENSOR_MAP_BYTES,
        "alignof(CUtensorMap)": cuda_driver.TENSOR_MAP_ALIGN_BYTES,
        "CU_LAUNCH_ATTRIBUTE_COOPERATIVE": cuda_driver.COOPERATIVE,
        "CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION": cuda_driver.CLUSTER,
        "CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION": cuda_driver.PDL,
        "CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT": cuda_driver.CARVEOUT,
        "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES": cuda_driver.MAX_DYNAMIC_SHARED,
        "CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED": cuda_driver.NONPORTABLE_CLUSTER,
        "CU_STREAM_CAPTURE_MODE_RELAXED": cuda_driver._RELAXED,
        "CU_STREAM_NON_BLOCKING": cuda_driver._NON_BLOCKING,
    }
    for prefix, words in (
        ("DATA_TYPE", cuda_driver.MAP_TYPES),
        ("INTERLEAVE", cuda_driver.INTERLEAVES),
        ("SWIZZLE", cuda_driver.SWIZZLES),
        ("L2_PROMOTION", cuda_driver.L2_PROMOTIONS),
    ):
        for word, number in words.items():
            name = f"L2_{word}" if prefix == "L2_PROMOTION" and word != "none" else word
            wanted[f"CU_TENSOR_MAP_{prefix}_{name.upper()}"] = number
    wanted["CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA"] = cuda_driver.OOB_FILLS["nan"]
    text = "#include <cstddef>\n#include <cuda.h>\n" + "".join(
        f'static_assert({name} == {number}, "");\n' for name, number in wanted.items()
    )
    source = tmp_path / "check.cpp"
    source.write_text(text)
    folders = [f"-I{folder}" for folder in headers()]
    done = subprocess.run(
        ["g++", "-std=c++17", "-fsyntax-only", *folders, str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_driver_call_is_one_that_the_header_declares() -> None:
    """A misspelt name would show on a card only."""
    text = Path(cuda_driver.__file__).read_text()
    used = set(re.findall(r"_lib\.(cu\w+)", text))
    assert len(used) > 15
    header = next(p for f in headers() if (p := Path(f) / "cuda.h").exists()).read_text()
    for name in used:
        assert re.search(rf"CUDAAPI {name.removesuffix('_v2')}\(", header), name
