"""Makes the golden batches anew: `python -m tests.golden.batches.make VERSION` with a pinned Kafka version.

Each case is a log segment as a real broker wrote it, copied from its disk, and beside it what confluent-kafka read of the
same partition (read_committed). Cases named `java-…` were recompressed by the broker, so that Kafka's own codecs wrote
them; the others hold librdkafka's bytes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from demo.clients import Sample, create_topic, produce, produce_transaction, read_positions

from kafkeep.lab import Lab, LabOptions, start

HERE = Path(__file__).parent
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
NOW = 1_800_000_000_000
SAMPLES = [
    Sample(b"key", b"value", (("h", b"1"), ("h", None), ("other", b"")), NOW, 0),
    Sample(None, b"", (), NOW - 5, 0),
    Sample(b"", None, (("ä", b"\xff\xfe"),), NOW + 7, 0),
    Sample(b"k" * 300, b"some text " * 20, (), NOW + 9, 0),
    Sample(None, None, (), NOW + 9, 0),
]
KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
COMPACT = {
    "cleanup.policy": "compact",
    "segment.ms": "300",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "300",
}


def main(version: str) -> None:
    options = LabOptions(kafka=version, properties={"log.cleaner.backoff.ms": "500"})
    with (
        tempfile.TemporaryDirectory() as folder,
        start(options, directory=Path(folder) / "lab", env=os.environ, now=datetime.now(UTC)) as lab,
    ):
        for codec in CODECS:
            _case(lab, codec, codec=codec)
            _case(lab, f"java-{codec}", config={"compression.type": "uncompressed" if codec == "none" else codec})
        _case(lab, "append-time", config={"message.timestamp.type": "LogAppendTime"})
        _transactions(lab)
        _compacted(lab)


def _case(lab: Lab, name: str, *, codec: str = "none", config: dict[str, str] | None = None) -> None:
    settings = _create(lab, name, config or {})
    produce(settings, name, SAMPLES, codec=codec)
    produce(settings, name, SAMPLES * 3, codec=codec)
    _keep(lab, name)


def _transactions(lab: Lab) -> None:
    settings = _create(lab, "transactions", {})
    for number, commit in enumerate((True, False, True)):
        recent = [sample._replace(timestamp=0) for sample in SAMPLES]
        produce_transaction(settings, "transactions", recent, transactional_id=f"tx-{number}", commit=commit)
    produce(settings, "transactions", [Sample(b"plain", b"", (), 0, 0)], enable_idempotence=True)
    _keep(lab, "transactions")


def _compacted(lab: Lab) -> None:
    settings = _create(lab, "compacted", COMPACT)
    many = [Sample(b"%d" % (number % 9), b"value %d" % number, (), NOW, 0) for number in range(60)]
    produce(settings, "compacted", [*many, *(Sample(b"k%d" % number, b"v", (), NOW, 0) for number in range(5))])
    produce(settings, "compacted", [Sample(b"last", b"", (), NOW + 10_000, 0)])
    deadline = time.monotonic() + 60
    while len(read_positions(settings, "compacted")[0]) > 60:
        if time.monotonic() > deadline:
            raise SystemExit("the topic was not compacted in time")
        time.sleep(0.5)
    _keep(lab, "compacted")


def _create(lab: Lab, name: str, config: dict[str, str]) -> dict[str, str]:
    settings = {"bootstrap.servers": lab.bootstrap}
    create_topic(settings, name, config={**KEEP, **config})
    time.sleep(1)
    return settings


def _keep(lab: Lab, name: str) -> None:
    segments = sorted((lab.node(1).log_dirs[0] / f"{name}-0").glob("*.log"))
    read = read_positions({"bootstrap.servers": lab.bootstrap}, name)[0]
    records = [
        {
            "offset": offset,
            "timestamp": content.timestamp,
            "key": _hex(content.key),
            "value": _hex(content.value),
            "headers": [[key.encode().hex(), _hex(value)] for key, value in content.headers],
        }
        for offset, content in read
    ]
    target = HERE / f"{lab.kafka}-{name}"
    target.with_name(target.name + ".log").write_bytes(b"".join(segment.read_bytes() for segment in segments))
    target.with_name(target.name + ".json").write_text(json.dumps(records, indent=0) + "\n", encoding="utf-8")


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


if __name__ == "__main__":
    main(sys.argv[1])
