"""Runs one command and writes what it cost as JSON: `python -I -S launch.py RESULT STDOUT STDERR COMMAND...`

A process of its own, because on Linux a program's peak memory counts from that of the process that started it: this one
is small, the benchmark is not.
"""

import json
import os
import sys
import time


def main() -> None:
    result, out, err, *command = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, out, flags, 0o600), (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o600)]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    told = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "system_seconds": usage.ru_stime,
        "peak_rss_bytes": usage.ru_maxrss * unit,
        "page_faults": usage.ru_minflt,
    }
    with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would double the size of this process
        json.dump(told, file)


main()
