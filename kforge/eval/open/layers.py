"""The sandbox of an open candidate: every layer is tried, and what the kernel refused is named.

The candidate starts programs and threads (Triton and compilers do), so it is held by what it can reach: its
own namespaces, files by Landlock, a user of its own, no capabilities, a seccomp filter for what is none of a
candidate's business.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kforge.eval import confinement
from kforge.eval.open import control_group, namespaces, open_filter
from kforge.eval.sandbox import PACKAGE_ROOT

MEMORY_LIMIT_BYTES = 64 << 30
FILE_LIMIT_BYTES = 256 << 20
SCRATCH_LIMIT_BYTES = 256 << 20
PROCESSES = 512
OPEN_FILES = 4096
# Users that no system has: each candidate is its own, so that limits and signals bind it alone.
FIRST_USER = 2_000_000
LAYERS = (
    "namespaces", "process_namespace", "private_mounts", "landlock", "user", "no_capabilities",
    "no_new_privileges", "seccomp", "limits", "control_group", "environment",
)  # fmt: skip
_SYSTEM_PATHS = (
    "/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", "/sys",
    "/dev/urandom", "/dev/random", "/dev/zero", "/dev/null",
)  # fmt: skip
# Where /proc could not be mounted anew it shows everybody's processes: then only these of it.
_OWN_PROC = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys")
_KEPT_VARIABLES = (
    "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
)  # fmt: skip
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Border:
    """What one candidate gets.

    Attributes:
        scratch: its own writable directory.
        readable: paths beside the installation's and the system's.
        writable: device files.
        variables: for its environment.
        off: defences that a test has switched off.
        shared: namespaces that it must share with its verifier ("processes", "queues"), else mapping its
            device memory there fails.
        groups: folders of its control group; empty where none could be made.
    """

    scratch: str
    readable: Sequence[str]
    writable: Sequence[str]
    variables: Mapping[str, str]
    off: frozenset[str]
    shared: frozenset[str] = frozenset()
    groups: Sequence[str] = ()


def enter(border: Border) -> dict[str, bool]:
    """Put every layer on; returns in a new process, whose parent only waits for it.

    Returns:
        Which layers are in force, by the names of ``LAYERS``.
    """
    taken = dict.fromkeys(LAYERS, False)
    owner = os.geteuid()
    confinement.die_first()
    taken["control_group"] = control_group.join(list(border.groups))
    if "environment" not in border.off:
        taken["environment"] = scrub_environment(border.variables)
    else:
        os.environ.update(border.variables)
    left = namespaces.Left(False, False)
    if "namespaces" not in border.off:
        left = namespaces.leave(border.shared)
    taken["namespaces"] = left.others and "queues" not in border.shared
    taken["process_namespace"] = left.processes
    _be_forked()
    if left.others:
        taken["private_mounts"] = namespaces.private_mounts(
            border.scratch, SCRATCH_LIMIT_BYTES, own_processes=left.processes
        )
        if owner == 0 and "user" not in border.off:
            namespaces.clear_the_way([*_installation(), *border.readable])
    if "limits" not in border.off:
        # The CUDA driver reserves more address space and larger files than it uses.
        on_card = bool(border.writable)
        confinement.set_limits(
            file_bytes=None if on_card else FILE_LIMIT_BYTES,
            memory_bytes=None if on_card else MEMORY_LIMIT_BYTES,
            open_files=OPEN_FILES,
        )
    if "user" not in border.off:
        taken["user"] = owner != 0 or _become(FIRST_USER + _salt(), border.scratch)
        taken["no_capabilities"] = confinement.drop_capabilities()
    if "limits" not in border.off:
        confinement.set_limits(processes=PROCESSES if os.geteuid() != owner else _threads_now() + PROCESSES)
        taken["limits"] = True
    confinement.die_with_parent(os.getppid())
    taken["no_new_privileges"] = confinement.no_new_privileges()
    os.chdir(border.scratch)
    if "landlock" not in border.off:
        proc = ("/proc",) if taken["private_mounts"] else _OWN_PROC
        taken["landlock"] = confinement.restrict_files(
            [*_installation(), *_SYSTEM_PATHS, *proc, *border.readable],
            [border.scratch, "/dev/null", *border.writable],
        )
    if "seccomp" not in border.off:
        taken["seccomp"] = open_filter.install(
            own_user=os.geteuid() != owner, own_processes=left.processes, local_sockets=bool(border.writable)
        )
    return taken


def scrub_environment(variables: Mapping[str, str]) -> bool:
    """Leave a few variables, and wipe the memory in which the kernel shows those this process began with."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | dict(variables)
    os.environ.clear()
    try:
        with open("/proc/self/stat") as file:
            words = file.read().rpartition(")")[2].split()
        start, end = int(words[47]), int(words[48])  # env_start and env_end, fields 50 and 51
        ctypes.memset(start, 0, end - start)
    except (OSError, ValueError, IndexError):
        return False
    finally:
        os.environ.update(kept)
    return True


def _be_forked() -> None:
    """Go on in a child; this process stays as the one its starter knows, and ends as the child does."""
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    starter = os.getppid()
    child = os.fork()
    if child == 0:
        return
    confinement.die_with_parent(starter)
    confinement.close_descriptors([])
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            break
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        confinement.set_limits()  # no core file of this one either
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _become(user: int, scratch: str) -> bool:
    """Change to an unused user, unless what it must read is closed to others."""
    if not all(_open_to_others(path) for path in (*_installation(), scratch)):
        return False
    try:
        os.chown(scratch, user, user)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return False
    # The change of user closed /proc/self to itself, which libraries read.
    _LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    return True


def _open_to_others(path: str) -> bool:
    resolved = Path(path).resolve()
    if not resolved.exists():
        return True
    return all(os.stat(part).st_mode & 0o001 for part in resolved.parents)


def _salt() -> int:
    """Tells users of candidates that run at the same time apart."""
    return int.from_bytes(os.urandom(3), "big")


def _installation() -> list[str]:
    """What Python imports from: the interpreter, its packages, kforge's own code."""
    return [sys.prefix, sys.base_prefix, str(Path(PACKAGE_ROOT) / "kforge")]


def _threads_now() -> int:
    """Threads of this user on this machine: a limit counts them all."""
    user, found = os.geteuid(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    found += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return found
