"""An open candidate, or eager, as the verifier sees it: places, values, calls, what came out."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch
from torch import Tensor

from kforge.clock import Clock
from kforge.data.tasks.loader import Value
from kforge.eval.arena import ALIGN_BYTES, Slot, lay_out
from kforge.eval.contender import Damage, RunLimits, integers
from kforge.eval.open import claims
from kforge.eval.open.calls import CONTROL, HEAD_BYTES, TOLD, arguments_of, span_bytes
from kforge.eval.open.store import HostStore, Store, shaped
from kforge.eval.open.tree import Tree
from kforge.eval.protocol import Protocol
from kforge.eval.runner_client import RunnerClient, RunnerHung, RunnerMoved, Sample
from kforge.eval.runner_main import GO, NOOP
from kforge.types import TensorSpec

INPUT_SETS = 4
OUTPUT_SETS = 2
# Large inputs get fewer places; two are needed for an address to be new.
PLACES_BYTES = 4 << 30
Kind = Literal["candidate", "trusted"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where values lie in the arena: sets of slots, one slot per tensor."""

    inputs: tuple[tuple[Slot, ...], ...]
    outputs: tuple[tuple[Slot, ...], ...]
    size: int

    @classmethod
    def of(cls, values: Sequence[Value], outputs: Sequence[TensorSpec]) -> Places:
        """Room for one workload's inputs and outputs."""
        tensors = [v for v in values if isinstance(v, Tensor)]
        wanted = [span_bytes(v.shape, v.stride(), v.itemsize) for v in tensors]
        made = [span_bytes(o.shape, o.strides, getattr(torch, o.dtype).itemsize) for o in outputs]
        sets = max(2, min(INPUT_SETS, PLACES_BYTES // max(1, sum(wanted))))
        layout = lay_out([*wanted * sets, *made * OUTPUT_SETS])
        slots = [Slot(s.offset + HEAD_BYTES, s.size) for s in layout.slots]
        inputs = tuple(tuple(slots[len(wanted) * i : len(wanted) * (i + 1)]) for i in range(sets))
        rest = slots[len(wanted) * sets :]
        halves = tuple(tuple(rest[len(made) * i : len(made) * (i + 1)]) for i in range(OUTPUT_SETS))
        return cls(inputs, halves, layout.size + HEAD_BYTES)

    def told(self) -> dict[str, Any]:
        """The same for the child's job."""
        return {
            "inputs": [[[s.offset, s.size] for s in places] for places in self.inputs],
            "outputs": [[[s.offset, s.size] for s in places] for places in self.outputs],
        }


class OpenClient(RunnerClient):
    """A runner whose processes form a tree below the one that was started."""

    def wait_loaded(self, limit_s: float) -> None:
        """Wait for it once."""
        if self._loading:
            super().wait_loaded(limit_s)

    def kill(self) -> None:
        """End all of them."""
        if self._process.pid is not None and self._process.is_alive():
            Tree(self.pid).end()
        super().kill()


class OpenContender:
    """One process, one workload: a candidate's, or the trusted one of eager.

    Args:
        context: a forkserver with torch preloaded, or spawn.
        target: what runs in the child.
        job: what it is told beside shapes and places.
        values: one set of arguments of ``forward``, for their layout.
        outputs: as the reference makes them.
        protocol: limits and defences.
        secret: chooses places.
        kind: a trusted one starts no processes, and is not suspected of moving while it stands still.
    """

    def __init__(
        self,
        context: multiprocessing.context.BaseContext,
        target: Callable[[Connection], None],
        job: dict[str, Any],
        *,
        values: Sequence[Value],
        outputs: Sequence[TensorSpec],
        protocol: Protocol,
        secret: random.Random,
        kind: Kind,
    ) -> None:
        self._places = Places.of(values, outputs)
        full = {**job, **self._places.told(), "arguments": arguments_of(values)}
        self._on_card = job["device_index"] is not None
        # On a card the arena holds what is told and a handle, and the values lie in the child's own memory.
        arena_bytes = HEAD_BYTES + ALIGN_BYTES if self._on_card else self._places.size
        self.client = OpenClient(context, target, {**full, "bytes": self._places.size}, arena_bytes)
        self._store: Store = HostStore(self.client.arena)
        self._outputs, self._protocol, self._secret, self._kind = outputs, protocol, secret, kind
        self._tree: Tree | None = None
        if protocol.has("untimed_steps"):
            self._tree = Tree(self.client.pid, with_root=kind == "trusted")
        self._chosen = 0
        self._target = 0

    def load(self) -> dict[str, bool]:
        """Wait until the layers are on; no candidate code has run then. Which layers hold."""
        self.client.wait_loaded(self._protocol.load_limit_s)
        return claims.layers(self._told())

    seed: int = 0

    def map(self) -> None:
        """Have the child's memory at hand, once it has loaded; the arena always is."""

    def close(self) -> None:
        """End the process; safe to call twice."""
        self.client.close()

    def construct(self, clock: Clock) -> None:
        """Run the candidate's file and make its model; raises ``RunnerFailed``."""
        self.client.ask({"do": "construct"}, self._protocol.load_limit_s)
        self.halt(clock)

    def missing(self) -> tuple[str, ...]:
        """Calls for extensions that it could not have, as JSON; a claim."""
        return claims.missing(self._told())

    def _told(self) -> bytes:
        return bytes(self.client.arena.view(TOLD))

    def halt(self, clock: Clock) -> float:
        """Have it stand still; returns when it did, in seconds on the clock. Raises ``RunnerHung``."""
        still_s = clock.monotonic() if self._tree is None else self._tree.halt(clock)
        if still_s is None:
            self.client.kill()
            raise RunnerHung("a process of the candidate does not stop")
        return still_s

    def require_still(self) -> None:
        """Raises ``RunnerMoved`` if a candidate did anything since it was stopped."""
        if self._tree is None or self._kind == "trusted" or not self._protocol.has("paused_candidate"):
            return
        found = self._tree.moved()
        if found is not None:
            raise RunnerMoved(found)

    # ------------------------------------------------------------------------------------- calls

    def run_once(self, given: Sequence[Tensor], poison: int, clock: Clock, limits: RunLimits) -> None:
        """Write values, poison, call once."""
        self.offer(given, poison)
        self.go(clock, limits.run_limit_s)

    def offer(self, given: Sequence[Tensor], poison: int) -> None:
        """Write one call's inputs to a secretly chosen place, and poison where its outputs go.

        Args:
            given: inputs first; what follows them (the state) was constructed there and is not written.
            poison: byte.
        """
        if self._protocol.has("new_addresses"):
            self._chosen = self._secret.randrange(len(self._places.inputs))
            self._target = self._secret.randrange(len(self._places.outputs))
        self._write(given)
        if self._protocol.has("poison"):
            for slot in self._places.outputs[self._target]:
                self._store.bytes(slot).fill_(poison)
        control = torch.frombuffer(self.client.arena.view(CONTROL), dtype=torch.int64)
        control[0], control[1] = self._chosen, self._target

    def _write(self, given: Sequence[Tensor]) -> None:
        for slot, value in zip(self._places.inputs[self._chosen], given, strict=False):
            self._like(slot, value).copy_(value)

    def _like(self, slot: Slot, value: Tensor) -> Tensor:
        """What lies in a slot, with the type and layout of a given value."""
        return shaped(self._store, slot, value.dtype, value.shape, value.stride())

    def go(self, clock: Clock, limit_s: float) -> Sample:
        """One timed call."""
        return self._timed(GO, clock, limit_s)

    def noop(self, clock: Clock, limit_s: float) -> Sample:
        """One timed call of the empty module (trusted process only)."""
        return self._timed(NOOP, clock, limit_s)

    def _timed(self, request: bytes, clock: Clock, limit_s: float) -> Sample:
        """From before its processes are let go until all of them stand still again.

        Whatever it does lies between the two, so working on after the reply gains nothing but what stopping
        an idle process takes, and that is in the floor.
        """
        if self._tree is None:
            return self.client.timed(request, clock, limit_s)
        self.require_still()
        started = clock.monotonic()
        sample = self.client.timed(request, clock, limit_s, self._tree.release)
        return replace(sample, wall_us=(self.halt(clock) - started) * 1e6)

    # ------------------------------------------------------------------------------------- results

    def outputs(self) -> list[Tensor]:
        """The last call's outputs where they lie, of the reference's layout."""
        slots = self._places.outputs[self._target]
        if self._protocol.has("exact_layout"):
            return [
                shaped(self._store, slot, getattr(torch, spec.dtype), spec.shape, spec.strides)
                for slot, spec in zip(slots, self._outputs, strict=True)
            ]
        return claims.forgiven_outputs(self._told(), self._store, slots, self._outputs)

    def snapshot(self) -> list[Tensor]:
        """Copies of the outputs."""
        return [output.clone() for output in self.outputs()]

    def damage(self, given: Sequence[Tensor]) -> Damage | None:
        """Outputs of another number or layout, or inputs that were written to."""
        wrong = claims.layout_damage(self._told(), self._outputs, exact=self._protocol.has("exact_layout"))
        if wrong is not None or not self._protocol.has("inputs_compared"):
            return wrong
        for position, (slot, value) in enumerate(zip(self._places.inputs[self._chosen], given, strict=False)):
            if not torch.equal(integers(self._like(slot, value)), integers(value)):
                return Damage("input_changed", f"forward changed its input {position}, which is read-only")
        return None
