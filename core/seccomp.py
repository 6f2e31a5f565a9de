"""A filter of system calls for the sandbox, as the bytes that ``bwrap --seccomp`` takes (linux/filter.h, seccomp_data).

Namespaces alone leave ways around the limits: memory that belongs to no process (System V segments, memfd), sockets of
families without a namespace (vsock reaches the machine that a virtual one runs on), and namespaces made inside, in
which a process is root before the parts of the kernel that only root reaches. All of these answer EPERM.
"""

from __future__ import annotations

import errno
import platform
import struct

# Name of the architecture: its number in linux/audit.h, and those of the calls (asm/unistd.h).
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_DENIED = {
    # x86_64, aarch64
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "finit_module": (313, 273), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
_NEW_NAMESPACES = 0x7E020000  # the flags CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_AF_UNIX = 1
_X32 = 0x40000000  # calls of the x32 ABI have numbers from here on
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in seccomp_data


def is_supported() -> bool:
    """Whether the calls' numbers of this processor are known."""
    return platform.machine() in _AUDIT


def sandbox_filter() -> bytes:
    """The filter for this processor."""
    machine = platform.machine()
    column = list(_AUDIT).index(machine)
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
        # Its flags lie in memory, where a filter cannot look: the C library then uses clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
    ]
    for numbers in _DENIED.values():
        program += [(_EQUAL, 0, 1, numbers[column]), refuse]
    program += [
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 5, _NEW_NAMESPACES),
        refuse,
        (_EQUAL, 0, 3, _SOCKET[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 1, 0, _AF_UNIX),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *each) for each in program)
