"""The measuring process with short limits and small flushes: tested is who survives, not what is timed."""

from __future__ import annotations

from dataclasses import replace

from kforge.eval import protocol, worker

protocol.DEFAULT_PROTOCOL = replace(
    protocol.DEFAULT_PROTOCOL,
    load_limit_s=20.0, run_limit_s=3.0, copy_limit_s=5.0, baseline_limit_s=6.0,
    bench_budget_s=0.2, warm_up_us=1000.0,
)  # fmt: skip
worker.last_level_cache_bytes = lambda: 1 << 20

if __name__ == "__main__":
    worker.main()
