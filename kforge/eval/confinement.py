"""Layers that a Linux process puts on itself: limits, no new privileges, Landlock, seccomp, namespaces.

Standard library only, no imports from kforge: the launcher and the planning child run it without
site-packages. Every function returns whether the kernel took the layer, and raises nothing for a kernel
that does not offer it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
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

# Numbers per machine: calls that make processes, replace the image, reach other processes or the network.
_SPAWNING = {
    "x86_64": (
        0xC000003E,
        (56, 57, 58, 59, 322, 435, 41, 53, 62, 101, 129, 200, 234, 297, 310, 311, 424, 434, 438, 425),
    ),
    "aarch64": (
        0xC00000B7,
        (220, 435, 221, 281, 198, 199, 117, 129, 130, 131, 138, 240, 270, 271, 424, 434, 438, 425),
    ),
}


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
    known = _SPAWNING.get(platform.machine())
    if known is None or not no_new_privileges():
        return False
    architecture, numbers = known
    denied, allow = 0x00050000 | 1, 0x7FFF0000  # SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ALLOW
    load, jump_equal, jump_at_least, give = 0x20, 0x15, 0x35, 0x06
    count = len(numbers)
    # Jump distances count from the next instruction; the last instruction refuses the call.
    program = [
        (load, 0, 0, 4),
        (jump_equal, 1, 0, architecture),
        (give, 0, 0, denied),
        (load, 0, 0, 0),
        (jump_at_least, count + 1, 0, 0x40000000),  # the x32 interface has its own numbers
        *((jump_equal, count - index, 0, number) for index, number in enumerate(numbers)),
        (give, 0, 0, allow),
        (give, 0, 0, denied),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    header = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    return bool(_LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) == 0)


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
