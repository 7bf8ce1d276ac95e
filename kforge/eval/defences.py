"""The defences of the referee by name, so that each can be shown to matter.

An exploit counts in ``tests/exploits`` only if it is rejected with all defences and succeeds with its named
one switched off. Nothing but a test builds a protocol with fewer: no option, variable or file reaches this.
"""

from __future__ import annotations

from typing import Literal, get_args

Defence = Literal[
    # before device code runs
    "token_screen",  # words of the source: clocks, allocation, includes, assembler directives
    "module_audit",  # the compiled module: writable variables, clock reads, undefined functions
    "plan_check",  # the plan, validated again outside the process that made it
    "plan_process",  # plan() runs confined
    # values
    "fresh_values",  # new inputs for every run, checked or timed
    "fresh_state",  # new parameters for every run
    "adversarial_values",  # trials with other distributions than the task's own
    "precision_model",  # what an error may be, from the declared precision
    "exact_masks",  # NaN and infinity exactly where the reference has them
    "exact_layout",  # shape, dtype and strides of outputs
    # memory
    "poison",  # outputs and scratch are filled before every run
    "guards",  # zones around every buffer
    "inputs_compared",  # inputs are compared after the run
    "module_image",  # module objects are compared with the module's load image after each phase
    "fresh_runner",  # one process and context per candidate
    "no_reference",  # references are computed where candidate code cannot run
    # time
    "verifier_clock",  # the verifier's own wall clock scores, or must agree
    "timed_outputs",  # outputs of secretly chosen timed runs are verified
    "probes",  # every run, timed or not, is compared on secret rows
    "new_addresses",  # inputs lie at secretly new or repeated addresses
    "flush",  # caches are flushed before every timed run
    "l2_reset",  # lines that a kernel asked to stay are made ordinary again
    "untimed_steps",  # copying in and out is measured too, and must stay what it was
    "paused_candidate",  # the candidate stands still while the baseline is timed
    "physics",  # no run beats the bytes that it must move
    # processes
    "process_border",  # candidate, reference and clock live in different processes
    "namespaces",
    "landlock",
    "seccomp",
    "user",  # no capabilities, no root
    "limits",  # memory, files, processes, processor
    "environment",  # scrubbed variables
    "deadline",  # group kill
    # time, on a CPU device
    "trusted_floor",  # the cost of an empty request is measured where no candidate code runs
]
DEFENCES: frozenset[Defence] = frozenset(get_args(Defence))
