"""Settings and permissions of real clusters; Kafka's own command-line tools set and describe them beside us."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.configs import alter_configs
from tests.support.kafka import KafkaCluster, unique
from tests.support.live import until

from kafkeep.errors import KafkaAccessDenied, KafkaLoginError, KafkaRequestError
from kafkeep.inventory import BROKER, CLIENT_METRICS, CLUSTER, GROUP, Acl, QuotaEntity, ResourceConfigs, ScramUser
from kafkeep.kafka.cluster import Cluster
from kafkeep.kafka.config import ClusterConfig, SaslConfig
from kafkeep.kafka.users import NewScramUser
from kafkeep.secret import Secret

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["kafka_431_scram", "kafka_392_scram"])
def secured(request: pytest.FixtureRequest) -> KafkaCluster:
    cluster: KafkaCluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture(scope="module")
def cluster(secured: KafkaCluster) -> Iterator[Cluster]:
    with Cluster(secured.cluster_config()) as opened:
        yield opened


def soon(condition: Callable[[], bool]) -> None:
    """Changes go to the controller; the brokers that are asked learn of them a moment later, each part of them by itself."""
    until(condition, what="what the controller took")


def internal(secured: KafkaCluster) -> tuple[str, str]:
    return "--bootstrap-server", secured.lab.bootstrap_of("INTERNAL")


def test_acls_are_made_listed_and_removed(secured: KafkaCluster, cluster: Cluster) -> None:
    name = unique("acl")
    wanted = [
        Acl("TOPIC", name, "LITERAL", "User:alice", "*", "READ", "ALLOW"),
        Acl("TOPIC", name, "PREFIXED", "User:comma,equals=name", "10.0.0.1", "WRITE", "DENY"),
        Acl("GROUP", name, "LITERAL", "User:bob", "*", "ALL", "ALLOW"),
        Acl("TRANSACTIONAL_ID", name, "PREFIXED", "User:bob", "*", "DESCRIBE", "ALLOW"),
    ]
    assert set(cluster.settings.create_acls(wanted).values()) == {None}
    assert set(cluster.settings.create_acls(wanted).values()) == {None}, "one that is there already is no error"
    soon(lambda: wanted[-1] in (cluster.settings.acls() or ()))
    found = cluster.settings.acls()
    assert found is not None and list(found) == sorted(found)
    assert [acl for acl in found if acl.resource_name == name] == sorted(wanted)
    told = secured.lab.tool("acls", *internal(secured), "--list", "--topic", name).stdout
    assert "principal=User:alice, host=*, operation=READ, permissionType=ALLOW" in told

    assert cluster.settings.delete_acls(wanted[:1]) == {wanted[0]: None}
    soon(lambda: wanted[0] not in (cluster.settings.acls() or ()))
    assert wanted[1] in (cluster.settings.acls() or ())
    cluster.settings.delete_acls(wanted)


def test_words_that_are_not_kafkas_are_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="'SING' is not one of"):
        cluster.settings.create_acls([Acl("TOPIC", "t", "LITERAL", "User:a", "*", "SING", "ALLOW")])


def test_quotas_of_users_clients_addresses_and_defaults(secured: KafkaCluster, cluster: Cluster) -> None:
    user = unique("quota")
    changes: dict[QuotaEntity, dict[str, float | None]] = {
        QuotaEntity((("user", user),)): {"producer_byte_rate": 1048576.0, "consumer_byte_rate": 2097152.0},
        QuotaEntity((("client-id", None), ("user", user))): {"request_percentage": 12.5},
        QuotaEntity((("ip", "10.1.2.3"),)): {"connection_creation_rate": 7.0},
        QuotaEntity((("user", None),)): {"controller_mutation_rate": 3.0},
    }
    assert set(cluster.settings.alter_quotas(changes).values()) == {None}

    def found() -> dict[QuotaEntity, dict[str, float]]:
        return {quota.entity: dict(quota.values) for quota in cluster.settings.quotas()}

    for entity, values in changes.items():
        soon(lambda entity=entity, values=values: found().get(entity) == values)
    told = secured.lab.tool(
        "configs", *internal(secured), "--describe", "--entity-type", "users", "--entity-name", user
    )
    assert "producer_byte_rate=1048576.0" in told.stdout

    cluster.settings.alter_quotas({entity: dict.fromkeys(values) for entity, values in changes.items()})
    soon(lambda: not set(found()) & set(changes))


def test_a_user_made_here_can_log_in(secured: KafkaCluster, cluster: Cluster) -> None:
    user = ScramUser(unique("user"), "SCRAM-SHA-512", 8192)
    password = Secret("correct horse, battery=staple ü")
    new = NewScramUser(user, password, salt=b"0123456789abcdef")
    assert cluster.settings.upsert_scram_users([new]) == {user.name: None}
    soon(lambda: user in cluster.settings.scram_users())

    login = SaslConfig(mechanism="SCRAM-SHA-512", username=user.name, password=password)
    soon(lambda: is_taken(secured.cluster_config(sasl=login)))
    with Cluster(secured.cluster_config(sasl=login)) as as_user:
        assert as_user.cluster_id() == cluster.cluster_id()
        with pytest.raises(KafkaAccessDenied, match="lacks DESCRIBE on the cluster"):
            as_user.settings.acls()
        with pytest.raises(KafkaAccessDenied):
            as_user.settings.scram_users()
        with pytest.raises(KafkaAccessDenied, match="lacks DESCRIBE_CONFIGS on the cluster"):
            as_user.settings.quotas()
        with pytest.raises(KafkaAccessDenied):
            as_user.settings.quorum()
        with pytest.raises(KafkaAccessDenied):
            as_user.settings.reassignments()
        answer = as_user.settings.log_dirs([1])[1]
        assert isinstance(answer, KafkaAccessDenied)
    assert cluster.settings.delete_scram_users([user]) == {user.name: None}
    assert cluster.settings.delete_scram_users([user]) == {user.name: None}, "one that is gone is no error"
    soon(lambda: user not in cluster.settings.scram_users())


def is_taken(config: ClusterConfig) -> bool:
    try:
        with Cluster(config) as cluster:
            return cluster.cluster_id() != ""
    except KafkaLoginError:
        return False


def test_configs_of_brokers_cluster_groups_and_client_metrics(secured: KafkaCluster, cluster: Cluster) -> None:
    node = str(next(iter(cluster.topology([]).brokers)))
    group, metrics = unique("group"), unique("metrics")
    settings = cluster.settings
    assert alter_configs(settings, BROKER, node, set={"log.cleaner.threads": "2"}) is None
    assert alter_configs(settings, CLUSTER, "", set={"message.max.bytes": "2000000"}) is None
    has_group_configs = secured.version.startswith("4")
    if has_group_configs:
        assert alter_configs(settings, GROUP, group, set={"consumer.session.timeout.ms": "50000"}) is None
    assert alter_configs(settings, CLIENT_METRICS, metrics, set={"interval.ms": "60000"}) is None
    refusal = alter_configs(settings, CLUSTER, "", set={"message.max.bytes": "many"})
    assert isinstance(refusal, KafkaRequestError)

    soon(lambda: metrics in settings.config_resources(CLIENT_METRICS))
    assert (group in settings.config_resources(GROUP)) == has_group_configs
    wanted = [(BROKER, node), (CLUSTER, ""), (CLIENT_METRICS, metrics)] + [(GROUP, group)] * has_group_configs
    soon(lambda: all(answer.overrides for answer in settings.configs(wanted).values() if answer_ok(answer)))
    found = settings.configs(wanted)
    overrides = {key: {e.name: e.value for e in answer.overrides} for key, answer in found.items() if answer_ok(answer)}
    assert overrides[BROKER, node] == {"log.cleaner.threads": "2"}
    assert overrides[CLUSTER, ""]["message.max.bytes"] == "2000000"
    assert not has_group_configs or overrides[GROUP, group] == {"consumer.session.timeout.ms": "50000"}
    assert overrides[CLIENT_METRICS, metrics]["interval.ms"] == "60000"
    broker = found[BROKER, node]
    assert isinstance(broker, ResourceConfigs)
    assert any(entry.sensitive and entry.value is None for entry in broker.entries)
    assert {"static", "default", "cluster", "broker"} <= {entry.source for entry in broker.entries}

    assert alter_configs(settings, BROKER, node, set={}, delete=["log.cleaner.threads"]) is None
    assert alter_configs(settings, CLUSTER, "", set={}, delete=["message.max.bytes"]) is None
    if has_group_configs:
        assert alter_configs(settings, GROUP, group, set={}, delete=["consumer.session.timeout.ms"]) is None
    assert alter_configs(settings, CLIENT_METRICS, metrics, set={}, delete=["interval.ms"]) is None


def answer_ok(answer: object) -> bool:
    assert isinstance(answer, ResourceConfigs), answer
    return True


def test_how_the_cluster_stands(secured: KafkaCluster, cluster: Cluster) -> None:
    settings = cluster.settings
    features = {feature.name: feature.level for feature in settings.features()}
    assert features["metadata.version"] >= 20
    quorum = settings.quorum()
    assert quorum is not None and quorum.leader in [node for node, _ in quorum.voters]
    dirs = settings.log_dirs(list(cluster.topology([]).brokers))
    for answer in dirs.values():
        assert isinstance(answer, tuple) and all(one.total_bytes > 0 and not one.error for one in answer)
    assert settings.reassignments() == ()
    assert settings.tokens() == ()


def test_a_cluster_without_authorizer_has_no_acls(kafka_431: KafkaCluster) -> None:
    with Cluster(kafka_431.cluster_config()) as plain:
        assert plain.settings.acls() is None
        assert plain.settings.scram_users() == ()
