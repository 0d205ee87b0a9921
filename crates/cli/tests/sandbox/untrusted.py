"""Tries to get out of a sandbox, in every way that a script knows of without being clever.

    untrusted.py SECRET PORT SOCKET PID COMM [NAME...]

SECRET is a file outside, PORT a TCP port on the loopback of whoever started it, SOCKET the name of an
abstract socket there, PID and COMM the number and the name of a process there. With NAMEs only those
attempts are made. One line for each: its name, a tab, and what came of it: `refused: WHY`, or
`SUCCEEDED: WHAT`. The exit status is 0 if all were refused.
"""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import sys
import termios

libc = ctypes.CDLL(None, use_errno=True)
secret, port, abstract = sys.argv[1], int(sys.argv[2]), sys.argv[3]
outside, outside_name = int(sys.argv[4]), sys.argv[5]
chosen = sys.argv[6:]
succeeded = []


class Refused(Exception):
    """What was tried did not work, and no system call says so."""


def attempt(function):
    """Makes an attempt at once, and says what came of it."""
    name = function.__doc__
    if chosen and name not in chosen:
        return
    try:
        result = function()
    except OSError as error:
        print(f"{name}\trefused: {errno.errorcode.get(error.errno, error)}", flush=True)
    except (Refused, MemoryError) as error:
        print(f"{name}\trefused: {error}", flush=True)
    else:
        succeeded.append(name)
        print(f"{name}\tSUCCEEDED: {result}", flush=True)


def call(name, *arguments):
    """A function of libc, whose failure is an OSError."""
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def read(path):
    with open(path, "rb") as file:
        return file.read(64)


def write(path):
    with open(path, "wb") as file:
        file.write(b"x")
        file.flush()
    return path


def is_outside():
    """That the process of that number is the one that was meant, and none inside."""
    with open(f"/proc/{outside}/comm") as file:
        name = file.read().strip()
    if not name.startswith(outside_name):
        raise Refused(f"{outside} is {name} here")
    return name


@attempt
def _():
    """read /etc/shadow"""
    return read("/etc/shadow")


@attempt
def _():
    """read the secret"""
    return read(secret)


@attempt
def _():
    """read the secret through another process's root"""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(read(f"/proc/{pid}/root{secret}"))
        except OSError as error:
            last = error
    if found:
        return found
    raise last


@attempt
def _():
    """list the home directory"""
    return os.listdir(os.path.dirname(secret))


@attempt
def _():
    """connect to the loopback outside"""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as peer:
        return peer.recv(16)


@attempt
def _():
    """send a datagram to the network"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"x", ("192.0.2.1", 53))


@attempt
def _():
    """connect to an abstract socket outside"""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(3)
        peer.connect("\0" + abstract)
        return peer.recv(16)


@attempt
def _():
    """open a raw socket"""
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).fileno()


@attempt
def _():
    """trace the parent"""
    return call("ptrace", 16, ctypes.c_long(os.getppid()), None, None)


@attempt
def _():
    """read the parent's memory"""
    return read(f"/proc/{os.getppid()}/mem")


@attempt
def _():
    """see a process outside"""
    seen = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
    if outside not in seen:
        raise Refused(f"there are only {sorted(seen)}")
    return is_outside()


@attempt
def _():
    """signal a process outside"""
    os.kill(outside, 0)
    return is_outside()


@attempt
def _():
    """become root"""
    os.setresuid(0, 0, 0)
    if os.stat("/").st_uid == os.getuid() and os.getuid() == 0:
        return os.getresuid()
    raise Refused("an id that is nobody's")


@attempt
def _():
    """make a user namespace"""
    return call("unshare", 0x10000000)


@attempt
def _():
    """make a user namespace by clone"""
    pid = call("syscall", ctypes.c_long(56), ctypes.c_long(0x10000000 | signal.SIGCHLD), None, None, None, None)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@attempt
def _():
    """mount something"""
    return call("mount", b"none", b"/tmp", b"tmpfs", 0, None)


@attempt
def _():
    """mount it writable again"""
    return call("mount", None, b"/usr", None, 0x20 | 0x1000, None)


@attempt
def _():
    """unmount something"""
    return call("umount2", b"/usr", 2)


@attempt
def _():
    """make a device"""
    os.mknod("/tmp/mem", 0o600 | 0x2000, os.makedev(1, 1))
    return read("/tmp/mem")


@attempt
def _():
    """open the machine's memory"""
    return read("/dev/mem")


@attempt
def _():
    """change a setting of the kernel"""
    return write("/proc/sys/kernel/core_pattern")


@attempt
def _():
    """press a magic key"""
    with open("/proc/sysrq-trigger", "wb") as file:
        return file.fileno()


@attempt
def _():
    """write below /usr"""
    return write("/usr/lib/sandbox-was-here")


@attempt
def _():
    """write below /etc"""
    return write("/etc/sandbox-was-here")


@attempt
def _():
    """write beside itself"""
    return write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandbox-was-here"))


@attempt
def _():
    """change itself"""
    with open(__file__, "ab") as file:
        return file.fileno()


@attempt
def _():
    """reach a keyring"""
    return call("syscall", ctypes.c_long(250), 0, ctypes.c_long(-4), 1, 0, 0)


@attempt
def _():
    """load a program into the kernel"""
    return call("syscall", ctypes.c_long(321), 0, ctypes.create_string_buffer(128), 128)


@attempt
def _():
    """type into the terminal"""
    terminal = os.open("/dev/tty", os.O_RDWR)
    return fcntl.ioctl(terminal, termios.TIOCSTI, b"x")


@attempt
def _():
    """set the clock"""
    import time

    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


@attempt
def _():
    """fill /tmp"""
    written = 0
    limit = 4 << 30
    try:
        with open("/tmp/full", "wb", buffering=0) as file:
            while written < limit:
                written += file.write(b"\0" * (1 << 20))
        return written
    finally:
        os.unlink("/tmp/full")


@attempt
def _():
    """a fork bomb"""
    most, children = 20000, []
    reader, writer = os.pipe()
    try:
        while len(children) < most:
            pid = os.fork()
            if pid == 0:
                # They wait, so that all are there at once, and end with the one that made them.
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            children.append(pid)
        return len(children)
    finally:
        os.close(writer)
        os.close(reader)
        for pid in children:
            os.waitpid(pid, 0)


print(f"{len(succeeded)} succeeded", flush=True)
sys.exit(1 if succeeded else 0)
