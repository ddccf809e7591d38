"""Finds the sockets on which processes listen, for tests of who can reach them."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""127.0.0.1, its form as an IPv6 address, and ::1, as /proc writes them."""


def sessions(*leaders: int) -> list[int]:
    """Return all processes of the sessions that these processes lead."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,sess="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [pid for pid, session in pairs if session in leaders]


def open_files(pid: int) -> list[str]:
    """Return the open files of a process; none if the process has ended."""
    try:
        return [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def listening(pids: Iterable[int]) -> list[tuple[str, int]]:
    """Return (address as in /proc, port) of each TCP or UDP socket on which processes listen."""
    names = {name for pid in pids for name in open_files(pid)}
    inodes = {name[8:-1] for name in names if re.fullmatch(r"socket:\[\d+\]", name)}
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (kind.startswith("udp") or fields[3] == "0A"):
                address, _, port = fields[1].partition(":")
                found.append((address, int(port, 16)))
    return found


def in_reach_of_others(pids: Iterable[int]) -> list[tuple[str, int]]:
    """Return the sockets that other machines can reach."""
    return [pair for pair in listening(pids) if pair[0] not in LOOPBACK]
