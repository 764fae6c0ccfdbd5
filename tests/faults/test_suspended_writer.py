"""C9: a backup is stopped for a while as a suspended machine is, others back up and prune meanwhile, and it goes on."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.faults import Figures
from tests.support.kafka import KafkaCluster, create_topic, produce, unique
from tests.support.oracle import assert_whole, check_log
from tests.support.oracle_load import samples
from tests.support.proof_command import prove
from tests.support.sweep import open_repository
from tests.support.sweep_command import Kafkeep, Running

from kafkeep.repository.stores.local import LocalStore

pytestmark = pytest.mark.integration


def suspended(running: Running, number: int, dice: random.Random) -> bool:
    """Stops the command when its first pack lies without a commit, or at a random moment; False when it was over before."""
    if number % 2:
        running.until("pack-stored", dice.randint(1, 2))
    else:
        time.sleep(dice.uniform(0, 1.5))
    running.process.send_signal(signal.SIGSTOP)
    return running.process.poll() is None


@pytest.mark.fault("C9")
@pytest.mark.timeout(1800)
def test_c9_a_suspended_backup_goes_on_after_others(kafka_431: KafkaCluster, tmp_path: Path, fault: Figures) -> None:
    """What it commits late fits or is left out: every record is there once, and every commit counts."""
    topic = unique("suspended")
    create_topic(kafka_431.client_properties, topic, partitions=4)
    repository = tmp_path / "repository"
    sleeper, other = Kafkeep(tmp_path / "sleeper"), Kafkeep(tmp_path / "other", inside=True)
    identity = other("init", "--repo", str(repository), "--compression", "none").expect(0)["id"]
    given = ["backup", "--repo", str(repository), "--cluster", kafka_431.bootstrap, "--topics", topic]
    steps = ["--connections", "1", "--fetch-size", "64KiB", "--pack-size", "1MiB"]
    pruning = ["prune", "--repo", str(repository), "--keep-last", "3", "--min-points", "1", "--undo-window", "1ms"]
    dice = random.Random()
    slept = overtaken = 0
    for number in range(fault.count(quick=4, full=50)):
        produce(kafka_431.client_properties, topic, samples(4000, partitions=4, size=800, seed=number))
        with sleeper.started(*given, *steps) as running:
            asleep = suspended(running, number, dice)
            slept += asleep
            before = open_repository(LocalStore(repository)).state.head
            other(*given).expect(0, 4)
            for _ in range(dice.choice([0, 1, 3])):  # of three, the last deletes what the sleeper has written
                other(*pruning, "--i-mean-it", identity, "--execute").expect(0, 4)
            overtaken += asleep and open_repository(LocalStore(repository)).state.head > before
            running.process.send_signal(signal.SIGCONT)
            assert running.end()["exit_code"] in (0, 4)
        check_log(LocalStore(repository))
    assert_whole(open_repository(LocalStore(repository)))
    print(f"{slept} suspended, {overtaken} of them overtaken")
    assert overtaken >= 1
    other(*given).expect(0, 4)
    prove(other, kafka_431, repository, {topic: 4})
    fault.figures(suspended=slept, overtaken=overtaken)
