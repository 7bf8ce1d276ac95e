"""Slim headers: an include directory before torch's that holds what one extension's text uses, and no more.

``torch/extension.h`` costs nvcc over a minute for it brings every operator, the C++ frontend and pybind11.
Most extensions use tensors, a dozen factories, dispatch macros and streams. The directory made here answers
the same header names with those; what does not compile with it is compiled with the full headers instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HOME = Path(__file__).with_name("slim_headers")
# Names of headers that are answered by the slim one.
_UMBRELLAS = (
    "torch/extension.h", "torch/all.h", "torch/torch.h", "torch/types.h", "torch/utils.h", "ATen/ATen.h",
    "ATen/Functions.h", "ATen/NativeFunctions.h",
)  # fmt: skip
# Headers that every operator's header includes and hardly any extension uses; a word that needs one keeps it.
_EMPTIED = {
    "ATen/Context.h": ("globalContext", "Context"),
    "ATen/TensorUtils.h": ("TensorArg", "TensorGeometryArg", "checkDim", "checkSameGPU", "checkAllSameGPU"),
    "ATen/TracerMode.h": (),
}
_CUDA_CONTEXT = ("ATen/cuda/CUDAContext.h", "ATen/cuda/CUDAContextLight.h", "ATen/cuda/Exceptions.h")
# Words that only the real ATen/cuda/CUDAContext.h can serve.
_CUDA_LIBRARIES = re.compile(
    r"cublas|cusparse|cusolver|CUDABlas|CUDASparse|CUDASolver|getCUDADeviceAllocator", re.I
)
# Further headers by the word that needs them.
_BY_WORD = (
    (re.compile(r"\bAT_DISPATCH_|\bAT_PRIVATE_"), "ATen/Dispatch.h"),
    (re.compile(r"\bAT_DISPATCH_V2\b"), "ATen/Dispatch_v2.h"),
    (re.compile(r"\bNoGradGuard\b|\bAutoGradMode\b"), "ATen/core/grad_mode.h"),
    (re.compile(r"\bparallel_for\b|\bparallel_reduce\b|\bget_num_threads\b"), "ATen/Parallel.h"),
    (re.compile(r"\bopmath_type\b"), "ATen/OpMathType.h"),
    (re.compile(r"\bceil_div\b|\bCeilDiv\b"), "ATen/ceil_div.h"),
    (re.compile(r"\bfrom_blob\b"), "ATen/ops/from_blob.h"),
)
# What no slim header serves: the C++ frontend, autograd, custom operators, options of torch:: factories.
_NEEDS_FULL = re.compile(
    r"\btorch::(nn|autograd|jit|optim|data|serialize|fft|linalg|special)\b|\bTORCH_LIBRARY|\brequires_grad\b"
    r"|<torch/(script|library|nn|custom_class|python)\b|\btorch/csrc/|\bTORCH_LIBRARY_IMPL\b|\bPyObject\b"
)
_PYBIND = re.compile(r"\bpy::|\bpybind11\b|\bPYBIND11_(?!MODULE\b)")
_QUALIFIED = re.compile(r"\b(?:torch|at)\s*::\s*(?:\w+\s*::\s*)?([a-z_]\w*)")
_OPENED = re.compile(r"\busing\s+namespace\s+(?:torch|at)\b")
_WORD = re.compile(r"[A-Za-z_]\w*")
_VARIABLE = re.compile(r"^\s*(at::Tensor|c10::MaybeOwned<at::Tensor>) cdata;", re.M)
_WRAP = re.compile(r"PyObject\* THPVariable_Wrap\((?:const at::TensorBase& var|at::TensorBase var)\);")


def slim_headers(texts: Iterable[str], torch_include: Path) -> dict[str, str] | None:
    """The include directory for one source, as path to content; None where only the full headers can serve.

    Args:
        texts: all sources and headers of the extension.
        torch_include: torch's own include directory.
    """
    text = "\n".join(texts)
    if _NEEDS_FULL.search(text):
        return None
    binding = _binding(text, torch_include)
    if binding is None:
        return None
    lines = ["#pragma once", '#include "kforge/torch.h"']
    lines += [f"#include <{header}>" for pattern, header in _BY_WORD if pattern.search(text)]
    lines += [f"#include <ATen/ops/{name}.h>" for name in sorted(_operators(text, torch_include))]
    files = {name: "\n".join([*lines, ""]) for name in _UMBRELLAS}
    files["torch/extension.h"] += '#include "kforge/binding.h"\n'
    files |= binding
    files["kforge/torch.h"] = (HOME / "torch.h").read_text()
    files["ATen/DeviceGuard.h"] = (HOME / "device_of.h").read_text()
    words = set(_WORD.findall(text))
    files |= {name: "#pragma once\n" for name, users in _EMPTIED.items() if words.isdisjoint(users)}
    if not _CUDA_LIBRARIES.search(text):
        files |= {name: '#include "kforge/cuda_context.h"\n' for name in _CUDA_CONTEXT}
        files["kforge/cuda_context.h"] = (HOME / "cuda_context.h").read_text()
    return files


def _operators(text: str, torch_include: Path) -> set[str]:
    """Names of operators that the text calls, qualified or, after ``using namespace``, bare."""
    called = set(_QUALIFIED.findall(text))
    if _OPENED.search(text):
        called |= set(_WORD.findall(text))
    return {name for name in called if (torch_include / "ATen" / "ops" / f"{name}.h").is_file()}


def _binding(text: str, torch_include: Path) -> dict[str, str] | None:
    """The binding of kforge, or pybind11's where the text uses more of it than PYBIND11_MODULE."""
    if _PYBIND.search(text):
        real = "#pragma once\n#include <torch/csrc/utils/pybind.h>\nnamespace py = pybind11;\n"
        return {"kforge/binding.h": real}
    if "PYBIND11_MODULE" not in text:
        return {"kforge/binding.h": "#pragma once\n"}
    declared = _torch_python(torch_include)
    if declared is None:
        return None
    return {
        "kforge/binding.h": '#pragma once\n#include "kforge/bind.h"\n',
        "kforge/bind.h": (HOME / "bind.h").read_text(),
        "kforge/torch_python.h": declared,
    }


def _torch_python(torch_include: Path) -> str | None:
    """How this torch lays a tensor into its Python object; None for a torch that does it in another way.

    The header that declares it costs as much as all of pybind11, so the three lines are taken out of it.
    """
    header = (torch_include / "torch" / "csrc" / "autograd" / "python_variable.h").read_text()
    payload, wrap = _VARIABLE.search(header), _WRAP.search(header)
    if payload is None or wrap is None:
        return None
    owned = payload[1].startswith("c10")
    return f"""#pragma once
#include <ATen/core/Tensor.h>
#include <c10/util/MaybeOwned.h>
#include <torch/csrc/Export.h>
TORCH_PYTHON_API extern PyObject* THPVariableClass;
TORCH_PYTHON_API {wrap[0]}
namespace kforge_bind {{
struct Variable {{
  PyObject_HEAD
  {payload[0].strip()}
}};
inline const at::Tensor& unpack(PyObject* object) {{
  return {"*" if owned else ""}reinterpret_cast<Variable*>(object)->cdata;
}}
}}  // namespace kforge_bind
"""
