"""kafka-python's clients stay out of kafkeep, and are there for everybody else."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> list[str]:
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_the_control_path_loads_messages_and_no_clients() -> None:
    loaded = run(
        "import sys, kafkeep.kafka.cluster; print(*[name for name in sys.modules if name.startswith('kafka.')])"
    )
    assert "kafka.protocol.metadata" in loaded
    assert not [name for name in loaded if name.split(".")[1] in ("admin", "consumer", "producer", "net", "cluster")]


def test_others_in_the_process_find_the_whole_package() -> None:
    code = "import kafkeep.kafka.cluster; from kafka import KafkaConsumer; print(KafkaConsumer.__name__)"
    assert run(code) == ["KafkaConsumer"]
    assert run("import kafkeep.kafka.cluster, kafka; print(kafka.KafkaProducer.__name__)") == ["KafkaProducer"]
    assert run("import kafkeep.kafka.cluster, kafka; print(hasattr(kafka, 'nothing'))") == ["False"]


def test_a_package_that_was_there_before_is_left_alone() -> None:
    code = (
        "import kafka; before = kafka.KafkaConsumer; import kafkeep.kafka.cluster; print(kafka.KafkaConsumer is before)"
    )
    assert run(code) == ["True"]
