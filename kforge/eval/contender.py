"""A candidate's runner as the verifier sees it: arena, given values, snapshots, guard zones."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
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
from kforge.eval.runner_client import RunnerClient, Sample
from kforge.eval.standstill import Standstill
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


def typed(arena: Arena, slot: Slot, value: Tensor) -> Tensor:
    """What lies in a slot, with the type and memory layout of ``value``."""
    if slot.size == 0:
        return torch.empty_like(value)
    flat = torch.frombuffer(arena.view(slot), dtype=value.dtype, count=slot.size // value.itemsize)
    return flat.as_strided(value.shape, value.stride())


def write_given(arena: Arena, slots: Sequence[Slot], values: Sequence[Tensor]) -> None:
    """Write tensors into their slots with the memory layout they have."""
    for slot, value in zip(slots, values, strict=True):
        typed(arena, slot, value).copy_(value)


def given_bytes(values: Sequence[Tensor]) -> list[int]:
    """Bytes that each tensor's memory spans."""
    return [_span(tuple(v.shape), v.stride()) * v.itemsize for v in values]


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))


class Contender:
    """One candidate, one workload, one disposable runner.

    On a CPU device its buffers lie in the arena and it stands still except while it is timed; on other
    devices kernels do not reach the runner's process, which then copies between the arena and the device.
    """

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
        tensors = {t["id"]: t for t in plan["tensors"]}
        self._output_tensors = [tensors[i] for i in plan["outputs"]]
        returned = {t["storage"] for t in self._output_tensors}
        # What an operator allocates has a place here only if it is an output.
        self._held = [s for s in plan["storages"] if s["role"] != "op" or s["id"] in returned]
        self.layout: Layout = lay_out([int(s["bytes"]) for s in self._held], GUARD_BYTES)
        self._off: frozenset[str] = frozenset(job.get("off", ()))
        self.in_place = device.is_cpu
        placed = zip(self._held, self.layout.slots, strict=True)
        places = {str(s["id"]): [p.offset, p.size] for s, p in placed}
        told = {"plan": bound, "module": module_path, "selector": device.selector, "places": places}
        full_job = {**job, **told, "in_place": self.in_place}
        self.client = RunnerClient(context, target, full_job, self.layout.size)
        self._stop: Standstill | None = None
        if self.in_place and "untimed_steps" not in self._off:
            self._stop = Standstill(self.client, os.cpu_count() or 1, charged=True)
        self._halted = False

    @property
    def stands_still(self) -> bool:
        """Whether it moves only while it is timed."""
        return self._stop is not None

    def run_once(self, given: Sequence[Tensor], poison: int, clock: Clock, limits: RunLimits) -> None:
        """Write values, poison the rest, run the plan; its outputs can then be read."""
        self.offer(given, poison, limits)
        self.go(clock, limits)
        self.collect(limits)

    def offer(self, given: Sequence[Tensor], poison: int, limits: RunLimits) -> None:
        """Write this run's inputs and parameters, in the plan's storage order (inputs first), and the rest.

        All that is no input is poisoned, guard zones are restored.
        """
        self._halt()
        values = iter(given)
        for storage, slot in zip(self._held, self.layout.slots, strict=True):
            for zone in self._zones(slot):
                zone.fill_(GUARD_PATTERN)
            if storage["role"] in GIVEN_ROLES:
                value = next(values)
                self._like(slot, value).copy_(value)
            elif "poison" not in self._off:
                self._bytes(slot).fill_(poison)
        if not self.in_place:
            self.client.prepare(poison, limits.copy_limit_s)

    def go(self, clock: Clock, limits: RunLimits) -> Sample:
        """One timed run of the plan on what was offered."""
        self._halt()
        if self._stop is not None:
            return self._stop.go(clock, limits.run_limit_s)
        return self.client.go(clock, limits.run_limit_s)

    def noop(self, clock: Clock, limits: RunLimits) -> Sample:
        """One timed run of nothing."""
        self._halt()
        if self._stop is not None:
            return self._stop.noop(clock, limits.run_limit_s)
        return self.client.noop(clock, limits.run_limit_s)

    def collect(self, limits: RunLimits) -> None:
        """Have what the run left readable in the arena."""
        if not self.in_place:
            self.client.export(limits.copy_limit_s)

    def _halt(self) -> None:
        if self._stop is not None and not self._halted:
            self._stop.halt()
            self._halted = True

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While something else is timed: threads left spinning would slow it."""
        if "paused_candidate" not in self._off:
            with contextlib.nullcontext() if self._halted else self.client.paused():
                yield
        elif self._stop is not None and self._halted:
            self._stop.release()
            yield
            self._stop.halt()
        else:
            yield

    def outputs(self) -> list[Tensor]:
        """The outputs where they lie, as tensors of the reference's shape and type; gone with the runner."""
        slots = {s["id"]: p for s, p in zip(self._held, self.layout.slots, strict=True)}
        found: list[Tensor] = []
        for tensor in self._output_tensors:
            dtype: torch.dtype = getattr(torch, tensor["dtype"])
            slot = slots[tensor["storage"]]
            flat = torch.frombuffer(
                self.client.arena.view(slot), dtype=dtype, count=slot.size // dtype.itemsize
            )
            found.append(flat.as_strided(tensor["shape"], tensor["strides"], tensor["offset"]))
        return found

    def snapshot(self) -> list[Tensor]:
        """Copies of the outputs."""
        return [output.clone() for output in self.outputs()]

    def damage(self, given: Sequence[Tensor]) -> Damage | None:
        """Guard zones and given values after a run, compared byte for byte."""
        if "guards" not in self._off:
            for storage, slot in zip(self._held, self.layout.slots, strict=True):
                for side, zone in zip(("before", "after"), self._zones(slot), strict=True):
                    if bool((zone != GUARD_PATTERN).any()):
                        return Damage("guard", f"wrote outside its memory: {side} {storage_name(storage)}")
        if "inputs_compared" in self._off:
            return None
        values = iter(given)
        for storage, slot in zip(self._held, self.layout.slots, strict=True):
            if storage["role"] in GIVEN_ROLES:
                value = next(values)
                if not torch.equal(integers(self._like(slot, value)), integers(value)):
                    return Damage("input_changed", f"changed {storage_name(storage)}, which is read-only")
        return None

    def _bytes(self, slot: Slot) -> Tensor:
        if slot.size == 0:
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(self.client.arena.view(slot), dtype=torch.uint8)

    def _zones(self, slot: Slot) -> tuple[Tensor, Tensor]:
        before = Slot(slot.offset - GUARD_BYTES, GUARD_BYTES)
        return self._bytes(before), self._bytes(Slot(slot.offset + slot.size, GUARD_BYTES))

    def _like(self, slot: Slot, value: Tensor) -> Tensor:
        """What lies in a slot, with the type and layout of a given value."""
        return typed(self.client.arena, slot, value)


def storage_name(storage: dict[str, Any]) -> str:
    """A storage in words for the proposer."""
    name = f" {storage['name']!r}" if storage.get("name") else ""
    return f"the {storage['role']} buffer{name} ({storage['bytes']} bytes)"


_SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def integers(values: Tensor) -> Tensor:
    """The same bits as integers, so that NaN equals itself."""
    return values.view(_SAME_WIDTH[values.itemsize])
