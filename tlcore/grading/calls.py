"""System calls that a student's code has no business to make, refused by the kernel itself (seccomp).

What is refused would hold memory or disk where the sandbox's watcher cannot see it, open new namespaces with fresh
rights, or reach for processor time beyond one's own share. The filter is written by libseccomp.
"""

from __future__ import annotations

import errno
import os

_HOARDS = "memfd_create memfd_secret shmget msgget semget add_key keyctl request_key"
_NAMESPACES = "unshare setns mount umount2 pivot_root open_tree move_mount mount_setattr fsopen fsmount fsconfig fspick"
_REACHES = "sched_setaffinity ptrace process_vm_writev pidfd_getfd bpf perf_event_open userfaultfd io_uring_setup"
_REACHES += " fanotify_init quotactl"
# mount, cgroup, uts, ipc, user, pid, net; the flag for time is clone3's alone
_NEW = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)


def refuse_calls() -> int:
    """Write the filter; return an open file that bubblewrap can read it from.

    Raises
    ------
    RuntimeError
        If libseccomp is not installed.
    """
    import pyseccomp

    allowed = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in f"{_HOARDS} {_NAMESPACES} {_REACHES}".split():
        allowed.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    for flag in _NEW:
        wanted = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag)
        allowed.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", wanted)
    # shared memory without a name keeps its pages when they are unmapped, and large socket buffers are nobody's memory
    allowed.add_rule(pyseccomp.ERRNO(errno.EPERM), "mmap", pyseccomp.Arg(3, pyseccomp.MASKED_EQ, 0x21, 0x21))
    for option in (7, 32):  # SO_SNDBUF, SO_SNDBUFFORCE
        level = pyseccomp.Arg(1, pyseccomp.EQ, 1)
        allowed.add_rule(pyseccomp.ERRNO(errno.EPERM), "setsockopt", level, pyseccomp.Arg(2, pyseccomp.EQ, option))
    allowed.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags lie in memory; libc falls back to clone
    file = os.memfd_create("calls")
    with os.fdopen(os.dup(file), "wb") as stream:
        allowed.export_bpf(stream)
    os.lseek(file, 0, os.SEEK_SET)
    return file
