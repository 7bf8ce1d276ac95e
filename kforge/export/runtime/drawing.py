"""Models, weights and inputs for checks and timings: new random ones on every call."""

from __future__ import annotations

import ast
import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from . import model_new, reference
from .contents import HERE, plans, provenance
from .runners import device_kind


def device() -> torch.device | None:
    """The device of the kernels; None where this machine has none."""
    if device_kind() == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None


def task(workload: int) -> dict[str, Any]:
    """The names of the reference file with a workload's constants."""
    overrides: dict[str, Any] = plans()["workloads"][workload]["overrides"]
    if not overrides:
        return vars(reference)
    source = (HERE / "reference.py").read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": reference.__name__, "__file__": str(HERE / "reference.py")}
    for statement in ast.parse(source).body:
        code = compile(ast.Module([statement], []), str(HERE / "reference.py"), "exec")
        exec(code, namespace)
        assigned = {
            n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        namespace |= {name: overrides[name] for name in assigned & overrides.keys()}
    return namespace


def pair(workload: int, where: torch.device) -> tuple[nn.Module, model_new.ModelNew]:
    """The eager model and a ``ModelNew`` that loaded its weights, which are random everywhere."""
    with where:
        arguments = task(workload)["get_init_inputs"]()
        eager: nn.Module = reference.Model(*arguments)
        new = model_new.ModelNew(*arguments)
    with torch.no_grad():
        for parameter in eager.parameters():  # ones and zeros of a norm would hide what is not applied
            parameter.add_(torch.randn_like(parameter) * 0.1)
    new.load_state_dict(eager.state_dict())
    return eager.to(where), new.to(where)


def inputs(workload: int, where: torch.device) -> list[Any]:
    """Arguments of ``forward`` as the task draws them."""
    with where:
        drawn = task(workload)["get_inputs"]()
    return [value.to(where) if isinstance(value, Tensor) else value for value in drawn]


def spread(workload: int, values: list[Any]) -> list[Any]:
    """The same arguments with real numbers of both signs: a task that draws from 0 to 1 hides much."""
    found = []
    for described, value in zip(plans()["workloads"][workload]["inputs"], values, strict=True):
        if isinstance(value, Tensor) and value.is_floating_point() and described["kind"] == "real":
            drawn = torch.empty_like(value).copy_(torch.randn(value.shape, device=value.device) * 2.0)
            found.append(drawn)
        else:
            found.append(value)
    return found


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """The switches of torch under which the kernels were measured, for library operators and eager torch."""
    tf32 = provenance()["precision"] != "ieee"
    before = _switch_tf32(tf32, tf32)
    try:
        yield
    finally:
        _switch_tf32(*before)


def _switch_tf32(matmul: bool, cudnn: bool) -> tuple[bool, bool]:
    """Set both switches; what they were before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # newer torch has other names for these two
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    return before


def baseline_autocast() -> contextlib.AbstractContextManager[object]:
    """Around eager torch when it is timed beside kernels of half precision."""
    kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
    kind = kinds.get(provenance()["precision"])
    return torch.autocast(device_kind(), kind) if kind is not None else contextlib.nullcontext()
