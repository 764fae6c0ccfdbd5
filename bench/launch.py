"""Runs one command and writes what it cost as JSON: `python -I -S launch.py RESULT STDOUT STDERR SAMPLED COMMAND...`

A process of its own, because on Linux a program's peak memory counts from that of the process that started it: this one
is small, the benchmark is not. The kernel tells the peak of the largest process only; with SAMPLED 1 the memory of all
processes of the session is added up five times a second instead, which is for commands that work in several.
"""

import json
import os
import sys
import threading
import time

PAUSE_SECONDS = 0.2
SESSION = 3
"""Place in /proc/PID/stat behind the command's name in brackets."""
RESIDENT = 21


def resident_bytes(session: int, own: int) -> int:
    """Of all processes of the session but this one; one that ends meanwhile counts nothing."""
    total = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double the size of this process
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:  # noqa: PTH123
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[SESSION]) == session:
            total += int(fields[RESIDENT])
    return total * os.sysconf("SC_PAGE_SIZE")


def watch(ended: threading.Event, highest: list[int]) -> None:
    while not ended.wait(PAUSE_SECONDS):
        highest[0] = max(highest[0], resident_bytes(os.getsid(0), os.getpid()))


def main() -> None:
    result, out, err, sampled, *command = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, out, flags, 0o600), (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o600)]
    ended, highest = threading.Event(), [0]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    if sampled == "1":
        threading.Thread(target=watch, args=(ended, highest), daemon=True).start()
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - began
    ended.set()
    unit = 1 if sys.platform == "darwin" else 1024
    told = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "system_seconds": usage.ru_stime,
        "peak_rss_bytes": max(usage.ru_maxrss * unit, highest[0]),
        "page_faults": usage.ru_minflt,
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(told, file)


main()
