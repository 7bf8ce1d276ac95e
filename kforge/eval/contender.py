"""A candidate's runner as the verifier sees it: arena, given values, snapshots, guard zones."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from typing import Protocol as TypingProtocol

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.eval import runner_sycl
from kforge.eval.arena import GUARD_BYTES, GUARD_PATTERN, Arena, Layout, Slot, lay_out
from kforge.eval.plan import GIVEN_ROLES
from kforge.eval.runner_client import RunnerClient
from kforge.types import CheckFailure, DeviceInfo


class RunLimits(TypingProtocol):
    """Deadlines of one run."""

    @property
    def run_limit_s(self) -> float:
        """Of the run itself."""
        ...

    @property
    def copy_limit_s(self) -> float:
        """Of copying values in or out."""
        ...


class Challenger(TypingProtocol):
    """A candidate in its runner, whatever the device."""

    @property
    def client(self) -> RunnerClient:
        """The runner process."""
        ...

    def run_once(self, given: Sequence[Tensor], poison: int, clock: Clock, limits: RunLimits) -> None:
        """Write values, poison the rest, run the plan, make its outputs readable; raises ``RunnerFailed``."""
        ...

    def snapshot(self) -> list[Tensor]:
        """Copies of the outputs."""
        ...

    def damage(self, given: Sequence[Tensor]) -> Damage | None:
        """What the run should not have touched."""
        ...


@dataclass(frozen=True, slots=True)
class Damage:
    """Memory that the candidate should not have touched, or did not write."""

    kind: CheckFailure
    reason: str


def write_given(arena: Arena, slots: Sequence[Slot], values: Sequence[Tensor]) -> None:
    """Write tensors into their slots with the memory layout they have."""
    for slot, value in zip(slots, values, strict=True):
        flat = torch.frombuffer(arena.view(slot), dtype=value.dtype, count=slot.size // value.itemsize)
        flat.as_strided(value.shape, value.stride()).copy_(value)


def given_bytes(values: Sequence[Tensor]) -> list[int]:
    """Bytes that each tensor's memory spans."""
    return [_span(tuple(v.shape), v.stride()) * v.itemsize for v in values]


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


class Contender:
    """One candidate, one workload, one disposable runner."""

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        bound: dict[str, Any],
        module_path: str,
        device: DeviceInfo,
        job: dict[str, Any],
        *,
        target: Callable[[Connection], None] = runner_sycl.run,
    ) -> None:
        plan: dict[str, Any] = bound["plan"]
        self._plan = plan
        storages = {s["id"]: s for s in plan["storages"]}
        tensors = {t["id"]: t for t in plan["tensors"]}
        self._output_tensors = [tensors[i] for i in plan["outputs"]]
        given = [int(s["bytes"]) for s in plan["storages"] if s["role"] in GIVEN_ROLES]
        sizes = [int(storages[t["storage"]]["bytes"]) for t in self._output_tensors]
        self._guarded = [s for s in plan["storages"] if s["role"] != "op"]
        self.layout: Layout = lay_out(given, sizes, len(self._guarded))
        full_job = {
            **job,
            "plan": bound,
            "module": module_path,
            "selector": device.selector,
            "layout": {
                "given": [[s.offset, s.size] for s in self.layout.given],
                "outputs": [[s.offset, s.size] for s in self.layout.outputs],
                "after": [[s.offset, s.size] for s in self.layout.after],
                "guards": [self.layout.guards.offset, self.layout.guards.size],
            },
        }
        self.client = RunnerClient(context, target, full_job, self.layout.size)

    def run_once(self, given: Sequence[Tensor], poison: int, clock: Clock, limits: RunLimits) -> None:
        """Write values, poison the rest, run the plan, have its outputs copied back."""
        self.give(given)
        self.client.prepare(poison, limits.copy_limit_s)
        self.client.go(clock, limits.run_limit_s)
        self.client.export(limits.copy_limit_s)

    def give(self, values: Sequence[Tensor]) -> None:
        """Write this run's inputs and parameters, in the plan's storage order (inputs first)."""
        write_given(self.client.arena, self.layout.given, values)

    def snapshot(self) -> list[Tensor]:
        """Copies of the exported outputs, as tensors of the reference's shape and type."""
        found: list[Tensor] = []
        for tensor, slot in zip(self._output_tensors, self.layout.outputs, strict=True):
            dtype: torch.dtype = getattr(torch, tensor["dtype"])
            flat = torch.frombuffer(
                self.client.arena.view(slot), dtype=dtype, count=slot.size // dtype.itemsize
            )
            found.append(flat.as_strided(tensor["shape"], tensor["strides"], tensor["offset"]).clone())
        return found

    def damage(self, given: Sequence[Tensor]) -> Damage | None:
        """Guard zones and given values after an export, compared byte for byte."""
        arena, guards = self.client.arena, self.layout.guards
        zones = torch.frombuffer(arena.view(guards), dtype=torch.uint8).reshape(-1, GUARD_BYTES)
        broken = (zones != GUARD_PATTERN).any(dim=1).nonzero().reshape(-1).tolist()
        if broken:
            storage, side = self._guarded[broken[0] // 2], ("before", "after")[broken[0] % 2]
            return Damage("guard", f"wrote outside its memory: {side} {storage_name(storage)}")
        for storage, slot, value in zip(
            (s for s in self._plan["storages"] if s["role"] in GIVEN_ROLES),
            self.layout.after,
            given,
            strict=True,
        ):
            flat = torch.frombuffer(arena.view(slot), dtype=value.dtype, count=slot.size // value.itemsize)
            found = flat.as_strided(value.shape, value.stride())
            if not torch.equal(_raw(found), _raw(value)):
                return Damage("input_changed", f"changed {storage_name(storage)}, which is read-only")
        return None


def storage_name(storage: dict[str, Any]) -> str:
    """A storage in words for the proposer."""
    name = f" {storage['name']!r}" if storage.get("name") else ""
    return f"the {storage['role']} buffer{name} ({storage['bytes']} bytes)"


def _raw(values: Tensor) -> Tensor:
    return values.contiguous().reshape(-1).view(torch.uint8)
