"""Which values of a connector's config are secrets, and that no way of showing shows them."""

from __future__ import annotations

import json

import pytest

from kafkeep.cli.jsonable import to_json
from kafkeep.connectors import Connector, Connectors, ConnectorSetting, is_secret, setting, without_secrets
from kafkeep.repository.service_documents import connectors_from_json, connectors_to_json
from kafkeep.secret import Secret

CANARY = "canary-4711-hunter2"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database.password", "x"),
        ("aws.secret.access.key", "x"),
        ("ssl.key", "x"),
        ("client.api-key", "x"),
        ("auth.TOKEN", "x"),
        ("gcp.credentials.json", "{}"),
        ("producer.override.sasl.jaas.config", 'x required username="u" password="p";'),
        ("connection.url", "jdbc:postgresql://u:p@db/x"),
        ("connection.url", "jdbc:sqlserver://db;user=u;password=p"),
        ("x.password", "a${file:/x:y}"),
    ],
)
def test_secrets_are_seen(name: str, value: str) -> None:
    assert is_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database.password", "${file:/run/secrets/db:password}"),
        ("database.password", ""),
        ("producer.override.sasl.jaas.config", 'x required username="${f:u}" password="${f:p}";'),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter.schemas.enable", "true"),
        ("connection.url", "jdbc:postgresql://db/x"),
        ("transforms.make.field.key", "id"),
        ("topics", "orders"),
    ],
)
def test_what_is_none_stays_readable(name: str, value: str) -> None:
    assert not is_secret(name, value)


def test_a_kept_secret_is_stored_and_never_shown() -> None:
    config = (setting("a.password", CANARY), setting("topics", "orders"), ConnectorSetting("lost.key", None))
    made = Connectors(version="4.3.1", connectors=(Connector(name="c", type="sink", state="RUNNING", config=config),))
    assert CANARY not in repr(made) + json.dumps(to_json(made))
    stored = connectors_to_json(made)
    assert CANARY in json.dumps(stored)
    assert connectors_from_json(stored) == made
    assert made.connectors[0].config[0].secret == Secret(CANARY)
    bare = without_secrets(made)
    assert CANARY not in json.dumps(connectors_to_json(bare))
    assert bare.connectors[0].holes == ("a.password", "lost.key")
    assert connectors_from_json(connectors_to_json(bare)) == bare
