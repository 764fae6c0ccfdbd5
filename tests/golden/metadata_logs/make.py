"""Makes the golden logs of controllers anew: `python -m tests.golden.metadata_logs.make VERSION` with a pinned version.

Each is a segment of `__cluster_metadata` and a snapshot of it with its end offset in the name, copied from a controller's
disk, and beside them what Kafka's own kafka-dump-log read of them. Passwords in them are of a cluster that was thrown away.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.controllers import as_kafka_shows, fill, start_secured, whole_batches
from tests.support.kafka import start_cluster

HERE = Path(__file__).parent


def make(version: str) -> None:
    """Two logs and their JSON."""
    with tempfile.TemporaryDirectory() as folder:
        kafka = start_secured(lambda **options: start_cluster(Path(folder) / "lab", **options), version)
        try:
            fill(kafka)
            time.sleep(1)
            log = kafka.lab.node(1).log_dirs[0] / "__cluster_metadata-0"
            segment = Path(folder) / f"{'0' * 20}.log"
            segment.write_bytes(whole_batches((log / segment.name).read_bytes()))
            snapshot = max(log.glob("*.checkpoint"))
            end = int(snapshot.name.partition("-")[0])
            for name, path in ((f"{version}.log", segment), (f"{version}-{end}.snapshot", snapshot)):
                (HERE / name).write_bytes(path.read_bytes())
                lines = ",\n".join(json.dumps(one) for one in as_kafka_shows(kafka, str(path)))
                (HERE / f"{name}.json").write_text(f"[\n{lines}\n]\n")
        finally:
            kafka.lab.stop(grace_seconds=1.0)


if __name__ == "__main__":
    make(sys.argv[1])
