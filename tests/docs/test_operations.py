"""docs/operations.md says what the tests hold: rights by verb, and something to do about every error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confluent_kafka.admin import ResourceType
from tests.faults.test_rights import BACKUP, CLUSTER, COMPARE, CONSISTENT, GROUP, RESTORE, TOPIC, Right
from tests.faults.test_settings_rights import SETTINGS

from kafkeep.errors import KafkeepError, all_errors

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
RESOURCES = {
    "topics": TOPIC,
    "groups": GROUP,
    "cluster": CLUSTER,
    "transactional": ResourceType.TRANSACTIONAL_ID,
}


@pytest.mark.parametrize(
    ("verb", "rights"),
    [
        ("backup", BACKUP),
        ("settings", SETTINGS),
        ("consistent", CONSISTENT),
        ("restore", RESTORE),
        ("compare", COMPARE),
    ],
)
def test_rights_of_the_page_are_those_that_were_tried(verb: str, rights: tuple[Right, ...]) -> None:
    found = re.search(rf"<!-- rights: {verb} -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    rows = [line.split("|")[1:3] for line in found[1].splitlines()[2:]]
    told = [(RESOURCES[resource.split()[0]], right.strip()) for resource, right in rows]
    assert told == [(kind, operation.name) for kind, operation in rights]


def test_every_error_has_a_remedy() -> None:
    rows = re.findall(r"^\| (`[a-z`, -]+`) \| .+ \|$", PAGE.read_text().split("## Troubleshooting")[1], re.MULTILINE)
    told = sorted(slug for row in rows for slug in re.findall(r"`([a-z-]+)`", row))
    assert told == sorted(error.slug for error in all_errors() if error is not KafkeepError)
