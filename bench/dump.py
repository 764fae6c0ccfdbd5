"""What a script with confluent-kafka does: all records of some topics into one file.

`python -m bench.dump BOOTSTRAP FILE TOPIC...`. Each record is partition, offset, timestamp, key and value with their
lengths; the file is synced at the end. One line of JSON tells how many there were.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

_HEAD: Final = struct.Struct(">iqqii")
_AT_ONCE: Final = 1000
_WAIT_SECONDS: Final = 0.1
"""For so many: at the end there are fewer."""
_TIMEOUT_SECONDS: Final = 60.0
_NULL: Final = -1


def main() -> None:
    bootstrap, file, *topics = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-dump",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    known = consumer.list_topics().topics
    partitions = [
        TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in known[topic].partitions
    ]
    consumer.assign(partitions)
    with Path(file).open("wb", buffering=1 << 20) as out:
        records = 0
        heard = time.monotonic()
        left = len(partitions)
        while left:
            messages = consumer.consume(_AT_ONCE, _WAIT_SECONDS)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() > heard + _TIMEOUT_SECONDS:
                raise SystemExit(f"no record for {_TIMEOUT_SECONDS:.0f} s")
            for message in messages:
                error = message.error()
                if error is None:
                    key, value = message.key(), message.value()
                    sizes = (_NULL if key is None else len(key), _NULL if value is None else len(value))
                    out.write(_HEAD.pack(message.partition(), message.offset(), message.timestamp()[1], *sizes))
                    out.write(key or b"")
                    out.write(value or b"")
                    records += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise KafkaException(error)
        out.flush()
        os.fsync(out.fileno())
    consumer.close()
    print(json.dumps({"records": records}))


if __name__ == "__main__":
    main()
