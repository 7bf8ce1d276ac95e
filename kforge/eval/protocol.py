"""The numbers of the evaluation protocol, and the harness version that invalidates old results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kforge.eval.defences import DEFENCES, Defence
from kforge.eval.stopping import Rule
from kforge.types import Quality

# Bytes that outputs and scratch hold before a run: NaN as float, huge as float, and a plain pattern.
POISONS = (0xFF, 0x7F, 0xA5)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How long, how often, how sure. Seconds and microseconds as the names say.

    Attributes:
        run_limit_s: one run of a plan; longer is TimedOut.
        bench_budget_s: sampling stops here even when unsettled (but not before ``min_samples``).
        ci_target: half-width of the 95 % interval of the speedup, relative, at which sampling stops.
        unstable_width: a speedup interval wider than this share of the speedup is Unstable.
        quiet_share: on a CPU device no verdict is given when others used more of the processors.
        verified_samples: timed samples whose outputs are verified, chosen after they ran.
        defences: all of them; an exploit's test switches one off to show what it is worth.
    """

    load_limit_s: float = 60.0
    copy_limit_s: float = 60.0
    run_limit_s: float = 10.0
    baseline_limit_s: float = 120.0
    bench_budget_s: float = 2.5
    min_samples: int = 10
    max_samples: int = 100
    ci_target: float = 0.01
    unstable_width: float = 3.0
    verified_samples: int = 3
    quiet_share: float = 0.1
    floor_samples: int = 20
    warm_up_runs: int = 3
    warm_up_us: float = 50_000.0
    defences: frozenset[Defence] = DEFENCES

    @property
    def rule(self) -> Rule:
        """When samples are enough."""
        return Rule(self.min_samples, self.max_samples, self.ci_target)

    def has(self, defence: Defence) -> bool:
        """Whether a defence is on."""
        return defence in self.defences


DEFAULT_PROTOCOL = Protocol()
# For a result that others will be measured against: the speedup to within 0.3 %.
RECORD_PROTOCOL = Protocol(bench_budget_s=10.0, min_samples=20, max_samples=400, ci_target=0.003)
PROTOCOLS: Mapping[Quality, Protocol] = {"screen": DEFAULT_PROTOCOL, "record": RECORD_PROTOCOL}
