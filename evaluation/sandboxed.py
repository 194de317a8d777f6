"""The process that a program of a model runs in: `sandbox.py` starts it, by path, with the standard library alone.

It reads its limits and the program, gives up everything that a computation does not need, and runs the program. What
it says goes through the pipe that was its standard output, each line after a word that the program does not know.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import socket
import struct
import sys
from typing import Any

ALLOW, DENY, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # seccomp's answers; DENY | an error number
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of a BPF program
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # where struct seccomp_data holds them
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WRITES |= getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0)

# System calls by architecture: its number, the calls on which `_filter` sets conditions, and those it allows:
X86_64 = (
    0xC000003E,
    {"open": 2, "openat": 257, "ioctl": 16, "prlimit64": 302, "fcntl": 72},
    # read write close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
    # pread64 readv writev access pipe select sched_yield mremap madvise dup dup2 nanosleep getitimer alarm setitimer
    # getpid exit uname getcwd readlink gettimeofday getrlimit getrusage sysinfo times getuid getgid geteuid getegid
    # getppid getgroups sigaltstack arch_prctl gettid time futex sched_getaffinity getdents64 set_tid_address
    # restart_syscall clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl newfstatat readlinkat
    # faccessat pselect6 ppoll set_robust_list eventfd2 epoll_create1 dup3 pipe2 getcpu getrandom membarrier statx rseq
    # faccessat2
    "0 1 3-15 17 19-25 28 32 33 35-39 60 63 79 89 96-100 102 104 107 108 110 115 131 158 186 201 202 204 217-219 "
    "228-233 262 267 269-271 273 290-293 309 318 324 332 334 439",
)
AARCH64 = (
    0xC00000B7,
    {"openat": 56, "ioctl": 29, "prlimit64": 261, "fcntl": 25},
    # getcwd eventfd2 epoll_create1 epoll_ctl epoll_pwait dup dup3 faccessat close pipe2 getdents64 lseek read write
    # readv writev pread64 pselect6 ppoll readlinkat newfstatat fstat exit exit_group set_tid_address futex
    # set_robust_list nanosleep getitimer setitimer clock_gettime clock_getres clock_nanosleep sched_getaffinity
    # sched_yield restart_syscall sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn times uname getrusage getcpu
    # gettimeofday getpid getppid getuid geteuid getgid getegid gettid sysinfo brk munmap mremap mmap mprotect madvise
    # getrandom membarrier statx rseq faccessat2
    "17 19-24 48 57 59 61-67 72 73 78-80 93 94 96 98 99 101-103 113-115 123 124 128 132 134 135 139 153 160 165 168 "
    "169 172-179 214-216 222 226 233 278 283 291 293 439",
)
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}

# What the interpreter refuses where the kernel cannot: the first part of an audit event's name.
REFUSED = ("socket", "subprocess", "ctypes", "shutil", "pty", "fcntl", "ftplib", "smtplib", "urllib", "webbrowser")
REFUSED_OS = (
    "system",
    "exec",
    "fork",
    "forkpty",
    "posix_spawn",
    "spawn",
    "kill",
    "killpg",
    "remove",
    "rename",
    "mkdir",
)
REFUSED_OS += ("rmdir", "chmod", "chown", "chflags", "lchown", "truncate", "link", "symlink", "utime", "setxattr")
REFUSED_OS += ("removexattr", "lockf")


def main() -> None:
    settings = json.loads(sys.stdin.buffer.readline())
    program, word = sys.stdin.buffer.read().decode("utf-8"), settings["word"]
    pipe, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    sys.path.pop(0)  # this file's folder

    def say(text: str) -> None:
        os.write(pipe, f"{word} {text}\n".encode("utf-8", "replace"))

    try:
        _limit(settings["memory_mib"], settings["seconds"])
        held = "kernel" if settings["filter"] and _filter() else "python"
        if held == "python":
            sys.addaudithook(_refuse)
        _check()
    except Exception as error:
        say(f"open {error}")
        os._exit(1)
    say("ready")
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    except BaseException as error:
        say(f"failed {type(error).__name__}: {str(error)[:200]!r}")
    else:
        say(f"passed {held}")
    say("done")
    os._exit(0)  # nothing that the program has left to be done at its end


def _limit(memory_mib: int, seconds: int) -> None:
    size = memory_mib * 2**20
    limits = {"AS": size, "DATA": size, "FSIZE": 0, "NOFILE": 64, "CORE": 0, "NPROC": 0, "MEMLOCK": 0}
    limits["CPU"] = seconds + 1  # of the processor; the clock is watched from outside
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if name not in ("AS", "DATA"):  # macOS has no limit on memory
                raise


def _filter() -> bool:
    """Install the seccomp filter. -> False where this system has none for us."""
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return False
    architecture, special, plain = machine
    rules: list[tuple[int, int, int, int]] = []

    def deny(error: int) -> tuple[int, int, int, int]:
        return (RETURN, 0, 0, DENY | error)

    allow = (RETURN, 0, 0, ALLOW)

    def rule(name: str, *then: tuple[int, int, int, int]) -> None:
        if name in special:
            rules.extend([(EQUAL, 0, len(then), special[name]), *then])

    def argument(index: int, high: bool = False) -> tuple[int, int, int, int]:
        return (LOAD, 0, 0, ARGUMENTS + 8 * index + 4 * high)  # both machines are little-endian

    rules += [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    for name, index in (("open", 1), ("openat", 2)):
        rule(name, argument(index), (ANY_BIT, 0, 1, WRITES), deny(errno.EACCES), allow)
    rule("ioctl", deny(errno.ENOTTY))
    zero = [argument(2), (EQUAL, 0, 3, 0), argument(2, high=True), (EQUAL, 0, 1, 0)]
    rule("prlimit64", *zero, allow, deny(errno.EPERM))  # limits may be read
    fcntl = [(EQUAL, 0, 1, command) for command in (0, 1, 2, 3, 1030)]  # duplicate, and the descriptor's flags
    rule("fcntl", argument(1), *(step for test in fcntl for step in (test, allow)), deny(errno.EPERM))
    for number in _numbers(plain):
        rules += [(EQUAL, 0, 1, number), allow]
    rules.append(deny(errno.EPERM))

    code = b"".join(struct.pack("HBBI", *step) for step in rules)
    buffer = ctypes.create_string_buffer(code)
    libc: Any = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, by_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0):
        return False
    program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(buffer))  # struct sock_fprog
    return libc.prctl(seccomp, by_filter, program, 0, 0) == 0


def _numbers(text: str) -> list[int]:
    """ "1 3-5" -> [1, 3, 4, 5]"""
    ends = [part.split("-") for part in text.split()]
    return [number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)]


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: raises for whatever leaves the computation."""
    group, _, name = event.partition(".")
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes or any(letter in str(mode or "") for letter in "wax+"):
            raise PermissionError(errno.EACCES, "files are read only here", str(path))
    elif group in REFUSED or (group == "os" and name in REFUSED_OS):
        raise PermissionError(errno.EPERM, f"{event} is not allowed here")


def _check() -> None:
    """Whether the walls stand. Raises where one does not."""
    attempts = {
        "a file can be opened for writing": lambda: os.open(os.devnull, os.O_WRONLY),
        "a socket can be made": lambda: socket.socket(),
        "a process can be started": _fork,
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        raise RuntimeError(what)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


if __name__ == "__main__":
    main()
