"""Layers that a Linux process puts on itself: limits, no new privileges, Landlock, seccomp, namespaces.

Standard library only, no imports from kforge: the launcher and the planning child run it without
site-packages. Every function returns whether the kernel took the layer, and raises nothing for a kernel
that does not offer it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 1, 4
AF_UNIX = 1
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FS_TRUNCATE, _FS_IOCTL_DEV = 1 << 14, 1 << 15
_FS_READ = _FS_EXECUTE | _FS_READ_FILE | _FS_READ_DIR
_FS_ON_FILES = _FS_EXECUTE | _FS_WRITE_FILE | _FS_READ_FILE | _FS_TRUNCATE | _FS_IOCTL_DEV
# Highest known file-system right per Landlock ABI: 1 up to MAKE_SYM, 2 REFER, 3 TRUNCATE, 5 IOCTL_DEV.
_FS_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_NET_ALL = 0b11
_SCOPE_ALL = 0b11

_LIBC = ctypes.CDLL(None, use_errno=True)

# Numbers per machine (audit architecture, then numbers), by what the calls reach.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Programs and processes; other processes' memory, descriptors and signals; sockets, io_uring; namespaces.
_REACHING_OUT = {
    "x86_64": (
        57, 58, 59, 322, 41, 53, 62, 129, 200, 297, 101, 310, 311, 424, 434, 438, 440, 425, 272, 308,
    ),
    "aarch64": (221, 281, 198, 199, 129, 138, 130, 240, 117, 270, 271, 424, 434, 438, 440, 425, 97, 268),
}  # fmt: skip
# socket, socketpair.
_SOCKETS = {"x86_64": (41, 53), "aarch64": (198, 199)}
_NEW_THREADS = {"x86_64": (56, 435, 234), "aarch64": (220, 435, 131)}
# What Landlock does not govern and outlives a process: modes, owners, times and attributes of files,
# priorities of other processes, mounts, keys, System V and POSIX queues, the clock, the kernel itself.
_LASTING = {
    "x86_64": (
        90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199, 463, 466,
        141, 251, 165, 166, 155, 161, 428, 429, 430, 442, 248, 249, 250, 29, 64, 68, 240, 304,
        103, 164, 170, 227, 159, 305, 169, 175, 313, 246, 320, 321, 298, 323, 312, 279, 256,
    ),
    "aarch64": (
        52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16, 463, 466,
        140, 30, 40, 39, 41, 51, 428, 429, 430, 442, 217, 218, 219, 194, 190, 186, 180, 265,
        116, 170, 112, 171, 266, 142, 105, 273, 104, 294, 280, 241, 282, 272, 239, 238,
    ),
}  # fmt: skip
# prlimit64, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr: on this process only.
_ON_ITSELF = {"x86_64": (302, 203, 144, 142, 314), "aarch64": (261, 122, 119, 118, 274)}
# clone, clone3, tgkill, prctl, seccomp.
_SPECIAL = {"x86_64": (56, 435, 234, 157, 317), "aarch64": (220, 435, 131, 167, 277)}
_CLONE_THREAD = 0x00010000
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
_EPERM, _ENOSYS = 1, 38
_Step = tuple[int, int, int, int]  # BPF: code, jump if true, jump if false, operand
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _GIVE = 0x20, 0x15, 0x35, 0x45, 0x06


def set_limits(
    *,
    cpu_s: float | None = None,
    memory_bytes: int | None = None,
    file_bytes: int | None = None,
    processes: int | None = None,
    open_files: int | None = None,
    nice: int = 0,
) -> None:
    """Lower this process's resource limits; None leaves one as it is. Core dumps are always off.

    ``processes`` counts all processes of the user and does not bind root.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: None if cpu_s is None else max(1, int(cpu_s + 0.999)),
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_NOFILE: open_files,
    }
    for limit, value in wanted.items():
        if value is None:
            continue
        hard = resource.getrlimit(limit)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bound, bound))
    if nice:
        os.nice(nice)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit at once if it already has."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(137)


def no_new_privileges() -> bool:
    """Set-user-id programs give nothing from here on."""
    return bool(_LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 when it has none."""
    return max(0, int(_LIBC.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def restrict_files(read: Iterable[str], write: Iterable[str]) -> bool:
    """Landlock: only ``read`` paths can be read or executed, only ``write`` paths changed.

    No TCP and no signals to processes outside either, where the kernel knows those rules.
    Paths that do not exist are skipped. Descriptors that are already open keep working.
    """
    abi = landlock_abi()
    if abi < 1 or not no_new_privileges():
        return False
    handled = _FS_RIGHTS[min(abi, 5)]
    attributes = struct.pack("<QQQ", handled, _NET_ALL, _SCOPE_ALL if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = int(_LIBC.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)))
    if ruleset < 0:
        return False
    try:
        for path in read:
            _allow(ruleset, path, handled & _FS_READ)
        for path in write:
            _allow(ruleset, path, handled)
        return bool(_LIBC.syscall(_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        granted = rights if os.path.isdir(path) else rights & _FS_ON_FILES
        rule = struct.pack("<Qi", granted, descriptor)
        _LIBC.syscall(_LANDLOCK_ADD, ruleset, ctypes.c_int(1), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def forbid_spawning() -> bool:
    """seccomp: no new process, thread or program, no sockets, no signals, no look into other processes."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    numbers = _REACHING_OUT[machine] + _NEW_THREADS[machine] + _LASTING[machine]
    return _install([step for number in numbers for step in _refuse(number)])


def forbid_reaching_out(*, local_sockets: bool = False) -> bool:
    """A seccomp filter for a process that needs threads: like ``forbid_spawning``, but threads may start.

    A thread is a ``clone`` with CLONE_THREAD; signals, limits and scheduling only for this very process.

    Args:
        local_sockets: accept AF_UNIX sockets for now: the CUDA driver opens one when it starts.
            ``forbid_sockets`` ends that.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    clone, clone3, tgkill, prctl, _ = _SPECIAL[machine]
    own = os.getpid()
    accepted = _SOCKETS[machine] if local_sockets else ()
    refused = [n for n in _REACHING_OUT[machine] + _LASTING[machine] if n not in accepted]
    program = [step for number in refused for step in _refuse(number)]
    for number in accepted:
        program += [(_EQUAL, 0, 4, number), _argument(0), (_EQUAL, 1, 0, AF_UNIX)]
        program += [(_GIVE, 0, 0, _ERRNO | _EPERM), (_GIVE, 0, 0, _ALLOW)]
    program += [(_EQUAL, 0, 4, clone), _argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD)]
    program += [(_GIVE, 0, 0, _ERRNO | _EPERM), (_GIVE, 0, 0, _ALLOW)]
    program += _refuse(clone3, _ENOSYS)  # its flags lie in memory; the C library then uses clone
    for number in (tgkill, *_ON_ITSELF[machine]):
        program += [(_EQUAL, 0, 5, number), _argument(0), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, own)]
        program += [(_GIVE, 0, 0, _ERRNO | _EPERM), (_GIVE, 0, 0, _ALLOW)]
    program += [(_EQUAL, 0, 4, prctl), _argument(0), (_EQUAL, 0, 1, PR_SET_PDEATHSIG)]
    program += [(_GIVE, 0, 0, _ERRNO | _EPERM), (_GIVE, 0, 0, _ALLOW)]
    return _install(program)


def forbid_sockets() -> bool:
    """No new sockets in any thread of this process, those already running included."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    program = [step for number in _SOCKETS[machine] for step in _refuse(number)]
    return _install(program, SECCOMP_FILTER_FLAG_TSYNC)


def _refuse(number: int, error: int = _EPERM) -> list[_Step]:
    return [(_EQUAL, 0, 1, number), (_GIVE, 0, 0, _ERRNO | error)]


def _argument(index: int) -> _Step:
    return (_LOAD, 0, 0, 16 + 8 * index)  # the low half, on a little-endian machine


def _install(blocks: list[_Step], more_flags: int = 0) -> bool:
    """Load a filter: foreign architectures are refused, then ``blocks``, and the rest is allowed.

    SPEC_ALLOW: kernels before 5.16 otherwise turn on a mitigation that slows what is being measured.
    """
    if not no_new_privileges():
        return False
    machine = platform.machine()
    denied: _Step = (_GIVE, 0, 0, _ERRNO | _EPERM)
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), denied, (_LOAD, 0, 0, 0)]
    # The x32 interface has its own numbers.
    program += [(_AT_LEAST, 0, 1, 0x40000000), denied, *blocks, (_GIVE, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    header = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    number = ctypes.c_long(_SPECIAL[machine][4])
    flags = ctypes.c_uint32(SECCOMP_FILTER_FLAG_SPEC_ALLOW | more_flags)
    mode = ctypes.c_uint32(SECCOMP_SET_MODE_FILTER)
    return bool(_LIBC.syscall(number, mode, flags, ctypes.c_char_p(header)) == 0)


def drop_capabilities() -> bool:
    """Give up every capability of this thread, for good: root is then an ordinary user called 0.

    It can then neither trace nor read processes that still hold theirs.
    """
    _LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        _LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # without the right to, or past the last: no effect
    number = ctypes.c_long({"x86_64": 126, "aarch64": 91}.get(platform.machine(), -1))
    header, none = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    return bool(_LIBC.syscall(number, header, none) == 0)


def die_first() -> None:
    """When memory runs out, the kernel ends this process before any other."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def leave_namespaces(*, network: bool, processes: bool) -> bool:
    """Enter new network and process namespaces, through a user namespace when this is not root.

    After ``processes`` the caller must fork: its next child is process 1 of the new namespace, and the
    kernel kills everything in there with it.
    """
    flags = (CLONE_NEWNET if network else 0) | (CLONE_NEWPID if processes else 0)
    user, group = os.getuid(), os.getgid()
    if user != 0:
        flags |= CLONE_NEWUSER
    if _LIBC.unshare(flags) != 0:
        return False
    if flags & CLONE_NEWUSER:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            try:
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
            except OSError:
                return False
    return True


def close_descriptors(keep: Iterable[int]) -> None:
    """Close every descriptor but 0, 1, 2 and ``keep``."""
    previous = 2
    for descriptor in sorted({fd for fd in keep if fd > 2}):
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    os.closerange(previous + 1, max(previous + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
