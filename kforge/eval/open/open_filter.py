"""The seccomp filter of an open candidate: it may start threads and programs, and reach nothing of others."""

from __future__ import annotations

import platform

from kforge.eval import confinement

# What of the strictest filter an open candidate may: fork, vfork, execve, execveat, socketpair.
_STARTING = {"x86_64": (57, 58, 59, 322, 53), "aarch64": (221, 281, 199)}
# kill, tkill: only where the processes that can be named are its own.
_SIGNALS = {"x86_64": (62, 200), "aarch64": (129, 130)}
# chmod, chown, utime and their kin: only on files of its own user.
_MODES = {
    "x86_64": (90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280),
    "aarch64": (52, 53, 452, 54, 55, 88),
}
# socket: which family decides.
_SOCKET = {"x86_64": 41, "aarch64": 198}
# bind, listen, accept: the CUDA driver binds a local socket when it starts, and fails with 304 otherwise.
_SERVING = {"x86_64": (49, 50, 288, 43), "aarch64": (200, 201, 202, 242)}
_MORE = {
    "x86_64": (133, 259, 167, 168, 180, 321),
    "aarch64": (33, 280),
}


def install(*, own_user: bool, own_processes: bool, local_sockets: bool) -> bool:
    """Load the filter on this process and all that it starts.

    Args:
        own_user: it runs as a user of its own, so modes and times of files are its own business.
        own_processes: it sees no process but its own.
        local_sockets: AF_UNIX sockets may be made and used, for the CUDA driver, until ``forbid_sockets``.
    """
    machine = platform.machine()
    if machine not in confinement._ARCHITECTURES:
        return False
    allowed = set(_STARTING[machine])
    if own_processes:
        allowed |= set(_SIGNALS[machine])
    if own_user:
        allowed |= set(_MODES[machine])
    socket = _SOCKET[machine]
    if local_sockets:
        allowed |= {socket, *_SERVING[machine]}
    wanted = (
        *confinement._REACHING_OUT[machine], *confinement._LASTING[machine],
        *_SERVING[machine], *_MORE[machine],
    )  # fmt: skip
    program = [
        step
        for number in dict.fromkeys(wanted)
        if number not in allowed
        for step in confinement._refuse(number)
    ]
    if local_sockets:
        program += [
            (confinement._EQUAL, 0, 4, socket),
            confinement._argument(0),
            (confinement._EQUAL, 1, 0, confinement.AF_UNIX),
            (confinement._GIVE, 0, 0, confinement._ERRNO | confinement._EPERM),
            (confinement._GIVE, 0, 0, confinement._ALLOW),
        ]
    return confinement._install([*program, *_prctl(machine), *_clone(machine)])


def _prctl(machine: str) -> list[confinement._Step]:
    """PR_SET_PDEATHSIG stays what it is."""
    return [
        (confinement._EQUAL, 0, 4, confinement._SPECIAL[machine][3]),
        confinement._argument(0),
        (confinement._EQUAL, 0, 1, confinement.PR_SET_PDEATHSIG),
        (confinement._GIVE, 0, 0, confinement._ERRNO | confinement._EPERM),
        (confinement._GIVE, 0, 0, confinement._ALLOW),
    ]


_NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW*


def _clone(machine: str) -> list[confinement._Step]:
    """No new namespaces by ``clone``; ``clone3`` hides its flags in memory, and the C library then clones."""
    return [
        (confinement._EQUAL, 0, 4, confinement._SPECIAL[machine][0]),
        confinement._argument(0),
        (confinement._ANY_BIT, 0, 1, _NAMESPACE_FLAGS),
        (confinement._GIVE, 0, 0, confinement._ERRNO | confinement._EPERM),
        (confinement._GIVE, 0, 0, confinement._ALLOW),
        *confinement._refuse(confinement._SPECIAL[machine][1], confinement._ENOSYS),
    ]
