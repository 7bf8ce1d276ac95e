"""The planning child: one JSON job on stdin, ``valid`` and ``plan`` run, one JSON result on one descriptor.

Started as ``python -I -S -B child.py PACKAGE_ROOT RESULT_FD``. The candidate shares this process, so
nothing here is a defence: the process is (limits, no files, no spawning, no network), and whatever comes
out is validated by the driver as if the candidate had written it.
"""

from __future__ import annotations

import json
import math
import os
import sys

MAX_MESSAGE_CHARS = 1000
FILENAME = "<candidate>"


def main() -> None:
    """Read the job, lock the process down, run the candidate, write the result."""
    root, result_fd = sys.argv[1], int(sys.argv[2])
    sys.path.insert(0, root)
    from kforge.eval import confinement
    from kforge.eval.planning import api

    # The candidate finds no package of the installation through sys.path, only the standard library.
    sys.path.remove(root)
    job = json.loads(sys.stdin.buffer.read())
    # Everything needed is imported: from here on no file can be opened and no process started.
    if job["confined"]:
        confinement.restrict_files(read=(), write=())
        confinement.forbid_spawning()
    # Without this line the driver knows that it was our start that failed, not the candidate.
    _write_all(result_fd, f"{job['nonce']} begins\n".encode())
    result = _result(job, api)
    payload = f"\n{job['nonce']} {json.dumps(result)}\n".encode()
    _write_all(result_fd, payload)
    # No interpreter shutdown: a candidate's atexit hooks and finalisers have nothing to add.
    os._exit(0)


def _write_all(descriptor: int, payload: bytes) -> None:
    view = memoryview(payload)
    while view:
        view = view[os.write(descriptor, view) :]


def _result(job: dict, api: object) -> dict[str, object]:  # type: ignore[type-arg]
    try:
        return _run(job, api)
    except BaseException as error:  # noqa: BLE001 - the sandbox border: anything a candidate raises is a value
        return {"error": _describe(error)}


def _run(job: dict, api: object) -> dict[str, object]:  # type: ignore[type-arg]
    # Module level was vetted from the syntax tree: literals, functions, and `math`, which is loaded already.
    scope: dict[str, object] = {"__name__": "candidate", "math": math}
    exec(compile(job["text"], FILENAME, "exec", dont_inherit=True), scope)
    valid, plan = scope.get("valid"), scope["plan"]
    if valid is not None and not valid(api.Names("tune", job["tune"])):  # type: ignore[operator, attr-defined]
        return {"invalid_variant": json.dumps(job["tune"])[:MAX_MESSAGE_CHARS]}
    planner = api.Planner(job)  # type: ignore[attr-defined]
    returned = plan(planner, *planner.inputs())  # type: ignore[operator]
    return {"plan": planner.document(returned)}


def _describe(error: BaseException) -> dict[str, object]:
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 - __str__ is the candidate's code too
        message = "(its message could not be read)"
    return {
        "type": type(error).__name__[:100],
        "message": message[:MAX_MESSAGE_CHARS],
        "line": line,
    }


if __name__ == "__main__":
    main()
