"""Values on their way to workers: secrets travel on purpose only, sealed bytes open under their key alone, errors arrive."""

from __future__ import annotations

import pickle
from types import MappingProxyType

import pytest
from tests.support.stations import Doing

from kafkeep import errors
from kafkeep.errors import KafkeepError, KeyRefused, ServiceRequestError, SettingsError, WorkerError
from kafkeep.kafka.config import ClusterConfig, SaslConfig
from kafkeep.secret import Secret
from kafkeep.work.carrying import WorkerKey, close, disclose, dump, has_secrets, load, portable
from kafkeep.work.dask_worker import key_of

SASL = SaslConfig(mechanism="PLAIN", username="u", password=Secret("hunter2"))
CLUSTER = ClusterConfig(name="c", bootstrap=("h:1",), security_protocol="SASL_PLAINTEXT", sasl=SASL)


def test_a_config_with_its_secret_arrives() -> None:
    assert load(dump(CLUSTER)) == CLUSTER
    assert load(dump(MappingProxyType({"a": 1}))) == {"a": 1}


def test_other_pickling_still_refuses_secrets() -> None:
    dump(CLUSTER)
    with pytest.raises(TypeError):
        pickle.dumps(CLUSTER)


def test_secrets_are_found_however_deep() -> None:
    assert has_secrets(CLUSTER)
    assert not has_secrets(ClusterConfig(name="c", bootstrap=("h:1",)))
    assert has_secrets(Doing(secret=Secret("x")))


def test_sealed_bytes_open_under_the_same_key_and_place_alone() -> None:
    key = WorkerKey.generate()
    sealed = close(key, CLUSTER, "task")
    assert disclose(key, sealed, "task") == CLUSTER
    for wrong, place in ((WorkerKey.generate(), "task"), (key, "another"), (None, "task")):
        with pytest.raises(KeyRefused):
            disclose(wrong, sealed, place)


def test_sealed_bytes_hold_no_secret_and_are_never_the_same() -> None:
    key = WorkerKey.generate()
    assert b"hunter2" in dump(CLUSTER)
    assert b"hunter2" not in close(key, CLUSTER, "task")
    assert close(key, CLUSTER, "task") != close(key, CLUSTER, "task")


def test_every_changed_byte_is_noticed() -> None:
    key = WorkerKey.generate()
    sealed = bytearray(close(key, 1, "task"))
    for place in range(len(sealed)):
        sealed[place] ^= 1
        with pytest.raises(KeyRefused):
            disclose(key, bytes(sealed), "task")
        sealed[place] ^= 1


def test_with_a_key_nothing_unsealed_is_opened() -> None:
    """Not even looked at: to open such bytes would be to run what they say."""
    with pytest.raises(KeyRefused, match="not sealed"):
        disclose(WorkerKey.generate(), dump(1), "task")


@pytest.mark.parametrize("text", ["", "5f" * 31, "5f" * 33, "zz" * 32, "5f " * 32])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyRefused) as raised:
        WorkerKey.parse(Secret(text))
    assert not text or text not in raised.value.message + raised.value.hint


def test_a_key_is_never_shown_or_pickled() -> None:
    key = WorkerKey.parse(Secret("5f" * 32 + "\n"))
    assert "5f5f" not in repr(key) + str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_worker_finds_its_key_in_its_environment(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "key"
    file.write_text("5f" * 32 + "\n")
    sealed = close(WorkerKey.parse(Secret("5f" * 32)), 1, "task")
    for env in ({"KAFKEEP_WORKER_KEY_FILE": str(file)}, {"KAFKEEP_WORKER_KEY": "5f" * 32}):
        assert disclose(key_of(env), sealed, "task") == 1
    assert key_of({}) is None and key_of({"KAFKEEP_WORKER_KEY": ""}) is None
    with pytest.raises(SettingsError, match="cannot be read"):
        key_of({"KAFKEEP_WORKER_KEY_FILE": str(tmp_path / "none")})


def classes(base: type[KafkeepError] = KafkeepError) -> list[type[KafkeepError]]:
    return [
        base,
        *(each for sub in base.__subclasses__() if sub.__module__ == errors.__name__ for each in classes(sub)),
    ]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_errors_of_every_class_arrive_with_all_they_say(kind: type[KafkeepError]) -> None:
    if kind is ServiceRequestError:
        error: KafkeepError = ServiceRequestError("m", status=418, code=7, hint="h")
    elif kind is errors.KafkaRequestError:
        error = errors.KafkaRequestError("m", code=3, name="N", hint="h")
    else:
        error = kind("m", hint="h", retryable=True)
    found = portable(error)
    assert type(found) is kind
    assert vars(found) == vars(error)
    assert str(load(dump(found))) == "m"


def test_an_error_that_cannot_travel_is_named() -> None:
    class Local(Exception):
        pass

    found = portable(Local("secret text"))
    assert isinstance(found, WorkerError)
    assert "Local" in str(found) and "secret text" not in str(found)


def test_an_error_of_another_kind_brings_the_place_where_it_happened() -> None:
    try:
        raise ValueError("x")
    except ValueError as error:
        found = portable(error)
    assert "test_work_carrying" in "".join(found.__notes__)
