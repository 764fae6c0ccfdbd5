"""No secret of a cluster's settings shows in what is kept, printed, exported or applied: passwords of SCRAM users, sensitive
configs of brokers, and whatever kafkeep itself logs in with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.test_secrets import RECORD, Canaries, _search_files
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, Sample, create_topic, produce, unique
from tests.support.live import until
from tests.support.sweep import open_repository

from kafkeep.inventory import BROKER, CLUSTER, ScramUser
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.users import NewScramUser
from kafkeep.point_documents import needed_inventory_of
from kafkeep.repository.stores.local import LocalStore
from kafkeep.secret import Secret

pytestmark = pytest.mark.integration

USER_PASSWORD = "canary of a user+password/é"
BROKER_SECRETS = {
    "listener.name.internal.ssl.key.password": "canary-listener-key-password",
    "listener.name.internal.ssl.keystore.password": "canary-listener-keystore-password",
    "connector.database.password": "canary-of-a-connector-password",
}
CLUSTER_SECRETS = {"metrics.reporter.sasl.jaas.config": 'Login required password="canary-in-jaas";'}
"""Kafka shows no value of a config that it does not know, nor of one that is a password."""


@contextmanager
def planted(kafka: KafkaCluster, user: str) -> Iterator[Cluster]:
    """A user with a password, and configs of a broker and of the cluster that hold secrets."""
    with Cluster(kafka.cluster_config()) as cluster:
        settings, node = cluster.settings, str(next(iter(cluster.topology([]).brokers)))
        new = NewScramUser(ScramUser(user, "SCRAM-SHA-512", 4096), Secret(USER_PASSWORD), salt=b"0" * 24)
        assert settings.upsert_scram_users([new]) == {user: None}
        assert alter_configs(settings, BROKER, node, set=BROKER_SECRETS) is None
        assert alter_configs(settings, CLUSTER, "", set=CLUSTER_SECRETS) is None
        yield cluster
        alter_configs(settings, BROKER, node, set={}, delete=list(BROKER_SECRETS))
        alter_configs(settings, CLUSTER, "", set={}, delete=list(CLUSTER_SECRETS))
        settings.delete_scram_users([new.user])


def canaries_of(kafka: KafkaCluster, folder: Path) -> Canaries:
    found = Canaries(kafka, folder)
    told = [value.split('"')[1] for value in CLUSTER_SECRETS.values()]
    found.secrets = (*found.secrets, USER_PASSWORD, *BROKER_SECRETS.values(), *told)
    return found


def passwords(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    return str(file)


def run(canaries: Canaries, calls: Sequence[tuple[tuple[int, ...], Sequence[str]]]) -> None:
    """At the most talkative level, every second one with --json; (allowed statuses, arguments)."""
    for number, (allowed, arguments) in enumerate(calls):
        talk = ["--json", "-vv"] if number % 2 else ["-vv"]
        done = canaries.check(canaries.kafkeep.plain(*talk, *arguments), " ".join(arguments))
        assert done.status in allowed, (arguments, done)


@pytest.mark.fault("E5")
def test_no_secret_of_the_settings_shows_anywhere(kafka_431_scram: KafkaCluster, tmp_path: Path) -> None:
    """Backups, exports, comparisons, plans and applies, and all files that they leave."""
    canaries, topic, user = canaries_of(kafka_431_scram, tmp_path), unique("secret"), unique("user")
    create_topic(kafka_431_scram.client_properties, topic, partitions=1)
    produce(kafka_431_scram.client_properties, topic, [Sample(value=RECORD, key=RECORD)] * 10)
    repository, files = tmp_path / "repository", tmp_path / "files"
    place, chosen = ["--repo", str(repository)], ["--topics", topic]
    onto = ["metadata", "apply", "--cluster", "file"]
    # Users that other tests left have no password here, and what other tests made may be different by now.
    users = [*onto, "whole", *place, "--only", "users", "--users-file"]
    known = passwords(tmp_path, "users.tsv", f"{user}\t{USER_PASSWORD}\n")
    broken = passwords(tmp_path, "broken.tsv", f"{user} {USER_PASSWORD}\n")
    edited = ["--file", str(files / "plain" / "metadata.json"), "--only", "broker-configs", "--existing", "align"]
    making = [
        ((0,), ["init", *place]),
        ((0,), ["backup", *place, "--cluster", "key", *chosen, "--name", "whole"]),
        ((0,), ["metadata", "backup", *place, "--cluster", "file"]),
        ((0,), ["show", "whole", *place]),
        ((0,), ["metadata", "export", "whole", *place, "--dir", str(files / "plain")]),
        ((0,), ["metadata", "export", "latest", *place, "--dir", str(files / "j0"), "--layout", "j0"]),
        ((0, 22), ["metadata", "diff", "whole", *place, "--cluster", "token"]),
        ((0, 22), ["metadata", "diff", "whole", "latest", *place]),
        ((0, 3, 4), [*onto, *edited]),
        ((14,), ["metadata", "backup", *place, "--cluster", "wrong"]),
    ]
    making_again = [
        ((2,), [*users, broken]),
        ((0, 3), [*users, known, "--dry-run"]),
        ((2,), [*users, broken, "--dry-run"]),
        ((0, 3), [*users, known]),
    ]
    with planted(kafka_431_scram, user) as cluster:
        run(canaries, making)
        cluster.settings.delete_scram_users([ScramUser(user, "SCRAM-SHA-512", 4096)])
        until(lambda: user not in names_of_users(cluster), what="taking the user away")
        run(canaries, making_again)
        until(lambda: user in names_of_users(cluster), what="making the user again")
    found = open_repository(LocalStore(repository))
    inventory = needed_inventory_of(found, found.point("whole"))
    kept = {entry.name: entry.value for resource in inventory.configs for entry in resource.entries}
    assert {name: kept[name] for name in (*BROKER_SECRETS, *CLUSTER_SECRETS)} == dict.fromkeys(
        (*BROKER_SECRETS, *CLUSTER_SECRETS)
    ), "the names are kept, and no value"
    _search_files(canaries, [repository, canaries.kafkeep.folder, files])
    assert user in (files / "plain" / "recreate.sh").read_text()


def names_of_users(cluster: Cluster) -> set[str]:
    return {one.name for one in cluster.settings.scram_users()}
