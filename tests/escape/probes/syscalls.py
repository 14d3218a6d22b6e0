"""How is the kernel asked without a library in between? x86-64 numbers (arch/x86/entry/syscalls/syscall_64.tbl)."""

from __future__ import annotations

import ctypes
import errno
import mmap

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

NUMBERS = {
    "clone": 56, "ptrace": 101, "syslog": 103, "mknod": 133, "personality": 135, "modify_ldt": 154, "pivot_root": 155,
    "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176,
    "quotactl": 179, "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250,
    "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "kcmp": 312, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
    "lsm_set_self_attr": 460, "open_tree_attr": 467, "socket": 41, "ioctl": 16, "getpid": 39,
}  # fmt: skip

X32_BIT = 0x40000000


def call(number: int | str, *arguments: object) -> int:
    """The result of one system call; raises OSError."""
    number = NUMBERS[number] if isinstance(number, str) else number
    passed = [ctypes.c_ulong(each & (2**64 - 1)) if isinstance(each, int) else each for each in arguments]
    ctypes.set_errno(0)
    result = int(LIBC.syscall(ctypes.c_long(number), *passed))
    if result == -1:
        raise OSError(ctypes.get_errno(), str(number))
    return result


def call_i386(number: int, first: int = 0) -> int:
    """One system call by the 32-bit entry. mov eax,edi; mov ebx,esi; int 0x80, with rbx kept."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("53 89f8 89f3 cd80 5b c3"))
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(
        ctypes.addressof(ctypes.c_char.from_buffer(page))
    )
    result = int(entry(number, first))
    if -4096 < result < 0:
        raise OSError(-result, errno.errorcode.get(-result, ""))
    return result
