"""The command lines and settings of other programs: Kafka's own tools and osodevops/kafka-backup. Pure, but for looking
for a program and asking for its version.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from bench.workloads import CODECS, Workload

OSO_VARIABLE: Final = "BENCH_OSO"
OSO_PROGRAM: Final = "kafka-backup"
_HEAP: Final = "-Xmx512M"
"""What Kafka's own scripts give these two tools."""
_BATCH_BYTES: Final = 1_000_000
_BATCH_RECORDS: Final = 1000
_BACKUP_ID: Final = "bench"


def java_command(java: str, class_path: str, tool: str, *arguments: str) -> list[str]:
    return [java, _HEAP, "-cp", class_path, f"org.apache.kafka.tools.{tool}", *arguments]


def consumer_perf(bootstrap: str, workload: Workload, records: int) -> list[str]:
    """Reads all records of a workload and drops them; its defaults are Kafka's, the fetch size apart, which is kafkeep's."""
    return [
        *("--bootstrap-server", bootstrap, "--num-records", str(records), "--timeout", "20000", "--hide-header"),
        *("--include", "|".join(map(re.escape, workload.topics)), "--fetch-size", str(4 * 1024 * 1024)),
    ]


def producer_perf(bootstrap: str, topic: str, workload: Workload, records: int, payloads: Path) -> list[str]:
    """Produces as many records with the workload's values in random order, tuned for throughput."""
    return [
        *("--bootstrap-server", bootstrap, "--topic", topic, "--num-records", str(records), "--throughput", "-1"),
        *("--payload-file", str(payloads), "--command-property", "acks=all", "linger.ms=50", "batch.size=1000000"),
        *("max.request.size=8388608", "buffer.memory=67108864", f"compression.type={CODECS[workload.codec]}"),
    ]


def dump(bootstrap: str, file: Path, topics: Sequence[str]) -> list[str]:
    """`bench.dump`: a consumer of confluent-kafka with its defaults."""
    return [sys.executable, "-m", "bench.dump", bootstrap, str(file), *topics]


def find_oso(env: Mapping[str, str]) -> str | None:
    """The binary named in the environment, else the one on PATH; None when there is none."""
    named = env.get(OSO_VARIABLE)
    return named if named else shutil.which(OSO_PROGRAM, path=env.get("PATH", os.defpath))


def versions(oso: str | None) -> dict[str, str]:
    """Of those that do not come with Kafka; `oso` is the binary."""
    found = {"confluent-kafka": str(confluent_kafka.__version__)}
    if oso is not None:
        told = subprocess.run([oso, "--version"], capture_output=True, text=True, check=False).stdout.split()
        found["osodevops/kafka-backup"] = told[-1] if told else "unknown"
    return found


def oso_backup(bootstrap: str, topics: Sequence[str], storage: Path, compression: str) -> dict[str, Any]:
    """Settings of one backup of these topics that ends: its defaults, but for where things lie, the compression, and its
    HTTP server, which would listen at all addresses.
    """
    return {
        "mode": "backup",
        "backup_id": _BACKUP_ID,
        "source": {"bootstrap_servers": bootstrap.split(","), "topics": {"include": list(topics)}},
        "storage": {"backend": "filesystem", "path": str(storage)},
        "backup": {"compression": compression, "stop_at_current_offsets": True},
        "offset_storage": {"backend": "sqlite", "db_path": str(storage / "offsets.db")},
        "metrics": {"enabled": False},
    }


def oso_restore(
    bootstrap: str,
    renamed: Mapping[str, str],
    storage: Path,
    *,
    record_bytes: int,
    window: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Settings of one restore under other names (`renamed`: from, to); `window` bounds the records' times in ms.

    It makes batches of 1000 records, its default, but for records so large that brokers would refuse these.
    """
    options: dict[str, Any] = {"create_topics": True, "topic_mapping": dict(renamed)}
    if (fitting := max(1, _BATCH_BYTES // record_bytes)) < _BATCH_RECORDS:
        options["produce_batch_size"] = fitting
    if window is not None:
        options |= {"time_window_start": window[0], "time_window_end": window[1]}
    return {
        "mode": "restore",
        "backup_id": _BACKUP_ID,
        "target": {"bootstrap_servers": bootstrap.split(","), "topics": {"include": list(renamed)}},
        "storage": {"backend": "filesystem", "path": str(storage)},
        "restore": options,
        "metrics": {"enabled": False},
    }
