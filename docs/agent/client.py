#!/usr/bin/env python3
"""Runs a program through an agent: client.py SOCKET PROGRAM [ARGUMENT...]

It is made from docs/agent-protocol.md and docs/plan-format.md alone and uses no library of the project: it shows
what a client in another language has to do. The child gets this program's standard input, output and error, no
environment, and nothing else. The exit status is the child's; 128 and the signal's number if one killed it; 125 if
it has not started.
"""
import os
import socket
import struct
import sys

HEAD = struct.Struct("<4sHHQII")  # magic, version, kind, request, flags, body_len
HELLO_BODY = struct.Struct("<HHIIIQ")
MAGIC, VERSION = b"EMBA", 1
HELLO, SPAWN = 0x0001, 0x0002
WELCOME, STARTED, FAULT, REFUSED, ENDED = 0x8001, 0x8002, 0x8003, 0x8004, 0x8005
STOPPING = 0x800A
UNKNOWN = 8
MESSAGE_BYTES_MAX, FDS_MAX = 65536, 253


def plan(program, arguments, fds):
    """A plan that puts slot N at descriptor fds[N] and executes the program at this path."""
    argv = b"".join(argument + b"\0" for argument in arguments)
    path = program + b"\0"
    put_fd, exec_path, no_slot = 0x0201, 0x0F01, 0xFFFFFFFF
    entries = b""
    for slot, fd in enumerate(fds):
        entries += struct.pack("<HHI4Q4IQ", put_fd, 0, slot, fd, 0, 0, 0, 0, 0, 0, 0, 0)
    entries += struct.pack("<HHI4Q4IQ", exec_path, 0, no_slot, 0, 0, 0, 0, len(argv), len(path), 0, 0, 0)
    data = argv + path
    keep = 1 | 2 | 4  # Working directory, umask and session are the agent's.
    header = b"EMBRYO\0\1" + struct.pack(
        "<HHIIIIII", 1, 72, 0, 72 + len(entries) + len(data), keep, len(fds), len(fds) + 1, len(data)
    )
    header += struct.pack("<III", 0, len(argv), len(arguments)) + bytes(12) + bytes(12)
    return header + entries + data


class Agent:
    """One connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.send(HELLO, 1, HELLO_BODY.pack(VERSION, VERSION, 0, 0, 0, 0))
        kind, _, _, body, _ = self.receive()
        if kind != WELCOME:
            raise OSError("the agent does not speak version 1: " + words(kind, body))
        self.connection = HELLO_BODY.unpack(body)[5]

    def send(self, kind, request, body, fds=()):
        packet = HEAD.pack(MAGIC, VERSION, kind, request, 0, len(body)) + body
        socket.send_fds(self.socket, [packet], fds)

    def receive(self):
        """The next message: kind, request, flags, body, descriptors."""
        packet, fds, flags, _ = socket.recv_fds(
            self.socket, MESSAGE_BYTES_MAX, FDS_MAX, socket.MSG_CMSG_CLOEXEC
        )
        if not packet:
            raise EOFError("the agent has closed the connection")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise OSError("a message has lost a part of it")
        magic, version, kind, request, flags, body_len = HEAD.unpack_from(packet)
        if (magic, version, body_len) != (MAGIC, VERSION, len(packet) - HEAD.size):
            raise OSError("this is not a message of version 1")
        return kind, request, flags, packet[HEAD.size :], fds


def words(kind, body):
    """What a refusal or a fault says."""
    if kind == REFUSED:
        rule, why = body.split(b"\0", 1)
        return f"refused by {rule.decode()}: {why.decode()}"
    if kind == FAULT:
        index, code, errno = struct.unpack_from("<IHH", body)
        return f"op {index} ({code:#06x}) failed, {os.strerror(errno)}: {body[8:].decode()}"
    return f"an answer of the kind {kind:#06x}"


def run(agent, program, arguments):
    """Starts the program, waits for its end, and gives its exit status."""
    request = 2
    body = struct.pack("<II", 0, 0) + plan(program, arguments, [0, 1, 2])
    agent.send(SPAWN, request, body, [0, 1, 2])
    while True:
        kind, answered, flags, body, fds = agent.receive()
        for fd in fds:  # The pidfd. ENDED says all that is of interest here.
            os.close(fd)
        if kind == STOPPING:
            continue
        if answered != request:
            raise OSError(f"an answer to {answered}, which was not asked")
        if kind == STARTED:
            continue
        if kind == ENDED:
            status = struct.unpack_from("<Qi", body)[1]
            if flags & UNKNOWN:
                raise OSError("nobody knows how it ended")
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        print("client.py:", words(kind, body), file=sys.stderr)
        return 125


def main():
    if len(sys.argv) < 3:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 125
    path, program = sys.argv[1], os.fsencode(sys.argv[2])
    arguments = [os.fsencode(argument) for argument in sys.argv[2:]]
    try:
        return run(Agent(path), program, arguments)
    except (OSError, EOFError) as error:
        print("client.py:", error, file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
