"""Starts one program under limits: ``python -I -S -B launcher.py ROOT POLICY -- ARGV``.

Standard library only. It runs between fork and exec of every untrusted step, so that no code has to run
in the forked driver. ``POLICY`` is JSON made by ``kforge.eval.sandbox``.
"""

from __future__ import annotations

import json
import os
import signal
import sys

FAILED = 125


def main() -> None:
    """Apply the policy to this process and become the program."""
    sys.path.insert(0, sys.argv[1])
    from kforge.eval import confinement

    policy = json.loads(sys.argv[2])
    argv = sys.argv[4:]
    confinement.die_with_parent(policy["parent"])
    entered = confinement.leave_namespaces(network=policy["network_off"], processes=policy["own_processes"])
    if entered and policy["own_processes"]:
        _fork_as_first_process()
    confinement.set_limits(**policy["limits"])
    confinement.no_new_privileges()
    confinement.die_first()
    confinement.drop_capabilities()
    if policy["files"] is not None:
        confinement.restrict_files(policy["files"]["read"], policy["files"]["write"])
    try:
        os.execvpe(argv[0], argv, dict(os.environ))
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error}\n".encode())
        os._exit(FAILED)


def _fork_as_first_process() -> None:
    """Go on as process 1 of the new namespace; the outer process waits and ends as the inner one did."""
    outer = os.getpid()
    inner = os.fork()
    if inner == 0:
        from kforge.eval import confinement

        # Seen from the new namespace the parent is process 0.
        confinement.die_with_parent(0)
        return
    # A pipe that the outer process keeps open would never end for the driver.
    os.closerange(3, 4096)
    code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    if code >= 0:
        os._exit(code)
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(outer, -code)
    os._exit(128 - code)


if __name__ == "__main__":
    main()
