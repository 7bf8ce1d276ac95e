"""Are these the arguments and weights that the kernels were built for? Exactly, or a reason.

A launch plan is made for one set of shapes, types, strides and constructor arguments. Anything else would
read or write outside its memory, or compute something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# What torch's allocators give, and what kernels may have relied on.
ALIGN_BYTES = 64
_PLAIN_TENSORS = (Tensor, nn.Parameter)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the kernels do not run; there is one warning per ``kind``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TensorRule:
    """One tensor as the plan expects it; strides count elements, and do not matter where there is one row."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> TensorRule:
        """From ``plan.json``."""
        dtype: torch.dtype = getattr(torch, spec["dtype"])
        return cls(spec["name"], dtype, tuple(spec["shape"]), tuple(spec["strides"]))

    def mismatch(self, value: object, device: torch.device) -> Reason | None:
        """What is different, if anything."""
        if type(value) not in _PLAIN_TENSORS:
            return Reason("arguments", f"{self.name} is a {type(value).__name__}, not a plain tensor")
        assert isinstance(value, Tensor)
        if value.device != device:
            return Reason("device", f"{self.name} is on {value.device}, other tensors on {device}")
        if value.dtype is not self.dtype:
            return Reason("dtype", f"{self.name} is {value.dtype}; the kernels take {self.dtype}")
        if tuple(value.shape) != self.shape:
            return Reason("shape", f"{self.name} is {tuple(value.shape)}; the kernels take {self.shape}")
        if value.layout is not torch.strided:
            return Reason("strides", f"{self.name} is {value.layout}; the kernels take dense tensors")
        if value.stride() != self.strides and self._rows_differ(value):
            return Reason("strides", f"{self.name} has strides {value.stride()}, not {self.strides}")
        if value.data_ptr() % ALIGN_BYTES and value.numel():
            return Reason("alignment", f"{self.name} does not begin at a multiple of {ALIGN_BYTES} bytes")
        return None

    def _rows_differ(self, value: Tensor) -> bool:
        if 0 in self.shape:
            return False
        triples = zip(self.shape, value.stride(), self.strides, strict=True)
        return any(size > 1 and got != wanted for size, got, wanted in triples)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of ``forward``: a tensor, or a constant that the plan has inside it."""

    name: str
    tensor: TensorRule | None
    constant: object


class Workload:
    """What one launch plan accepts."""

    def __init__(self, number: int, described: Mapping[str, Any]) -> None:
        self.number = number
        self.name: str = described["name"]
        self.init: Mapping[str, object] = described["init"]
        self._arguments = [
            Argument(i["name"], TensorRule.read(i["tensor"]) if i["tensor"] else None, i["constant"])
            for i in described["inputs"]
        ]
        state = {("param", s["name"]): TensorRule.read(s) for s in described["parameters"]}
        state |= {("buffer", s["name"]): TensorRule.read(s) for s in described["buffers"]}
        self._state = [(name.split("."), role, rule) for (role, name), rule in state.items()]
        given = [(s["role"], s["name"]) for s in described["plan"]["storages"] if s["role"] in _GIVEN]
        positions = {("input", a.name): n for n, a in enumerate(self._arguments)}
        positions |= {key: len(self._arguments) + n for n, key in enumerate(state)}
        self._given = [positions[key] for key in given]

    def match(self, model: nn.Module, values: Sequence[object], kind: str) -> list[Tensor] | Reason:
        """The tensors behind the plan's given storages, in its order; or why not.

        Args:
            model: whose parameters and buffers are used.
            values: the arguments of ``forward``, by position.
            kind: of device that the kernels run on: ``cuda`` or ``cpu``.
        """
        if len(values) != len(self._arguments):
            reason = f"{len(values)} arguments; the kernels take {len(self._arguments)}"
            return Reason("arguments", reason)
        state = self._state_of(model)
        if isinstance(state, Reason):
            return state
        everything = [*values, *state]
        device = next((v.device for v in everything if isinstance(v, Tensor)), torch.device("cpu"))
        if device.type != kind:
            return Reason("device", f"the tensors are on {device}; the kernels run on {kind}")
        for argument, value in zip(self._arguments, values, strict=True):
            if argument.tensor is None:
                if type(value) is not type(argument.constant) or value != argument.constant:
                    text = f"{argument.name} is {value!r}; the kernels were built for {argument.constant!r}"
                    return Reason("arguments", text)
            elif reason_ := argument.tensor.mismatch(value, device):
                return reason_
        for (_, _, rule), value in zip(self._state, state, strict=True):
            if reason_ := rule.mismatch(value, device):
                return reason_
        return [everything[position] for position in self._given]  # type: ignore[misc]

    def _state_of(self, model: nn.Module) -> list[Tensor] | Reason:
        found: list[Tensor] = []
        for path, role, rule in self._state:
            owner: nn.Module | None = model
            for part in path[:-1]:
                owner = owner._modules.get(part) if owner is not None else None
            held = None
            if owner is not None:
                held = (owner._parameters if role == "param" else owner._buffers).get(path[-1])
            if held is None:
                return Reason("parameters", f"the model has no {role} {rule.name!r} any more")
            found.append(held)
        return found


_GIVEN = ("input", "param", "buffer")


def plain(value: object) -> object:
    """Tuples as lists, all the way down: how constructor arguments are written in ``plan.json``."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def other_init(workload: Workload, given: Mapping[str, object]) -> Reason | None:
    """Whether ``Model`` was constructed with other arguments than the kernels were built for."""
    for name, value in given.items():
        if name not in workload.init:
            text = f"the constructor's {name} cannot be compared with that of the export"
            return Reason("constructor", text)
        if plain(value) != workload.init[name]:
            text = f"constructed with {name}={value!r}; the kernels were built for {workload.init[name]!r}"
            return Reason("constructor", text)
    return None


def mode_matters(module: nn.Module) -> bool:
    """Whether train or eval mode changes what a module computes: whether its class looks at ``training``."""
    if isinstance(module, nn.modules.batchnorm._NormBase) and not module.track_running_stats:
        return False  # without statistics of its own it computes the same in both modes
    for parent in type(module).__mro__:
        if parent in (nn.Module, object):
            continue
        codes = [getattr(found, "__code__", None) for found in vars(parent).values()]
        if any(code is not None and "training" in code.co_names for code in codes):
            return True
    return False
