"""Which feature levels a metadata plan raises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.images import rich_image

from kafkeep.inventory import Feature
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.options import FEATURES, ApplyOptions
from kafkeep.metadata.plan import MetadataPlan, SetFeature
from kafkeep.metadata.planning import Abilities, plan_metadata

KNOWN = {"metadata.version": 29, "share.version": 1}


def image(**levels: int) -> ClusterImage:
    found = rich_image()
    features = tuple(Feature(name.replace("_", "."), level) for name, level in levels.items())
    return replace(found, inventory=replace(found.inventory, features=features, unreadable=()))


def plan(source: ClusterImage, target: ClusterImage, existing: str = "keep") -> MetadataPlan:
    options = ApplyOptions(only=frozenset({FEATURES}), existing=existing)
    return plan_metadata(source, target, options, Abilities(features=KNOWN))


def raised(found: MetadataPlan) -> dict[str, int]:
    return {step.subject: step.level for step in found.steps if isinstance(step, SetFeature)}


def test_what_is_not_there_is_finalized() -> None:
    found = plan(image(metadata_version=29, share_version=1), image(metadata_version=29))
    assert raised(found) == {"share.version": 1} and found.left_out == ()
    assert dict(found.unchanged) == {FEATURES: 1}


@pytest.mark.parametrize(
    ("existing", "steps", "refusals"), [("keep", {}, 0), ("align", {"metadata.version": 29}, 0), ("fail", {}, 1)]
)
def test_a_lower_level_goes_by_the_rule_for_what_exists(existing: str, steps: dict[str, int], refusals: int) -> None:
    found = plan(image(metadata_version=29), image(metadata_version=25), existing)
    assert raised(found) == steps and len(found.refusals) == refusals
    assert [left.missing for left in found.left_out] == ([False] if existing == "keep" else [])


@pytest.mark.parametrize("existing", ["keep", "align", "fail"])
def test_a_level_is_never_lowered(existing: str) -> None:
    found = plan(image(metadata_version=20), image(metadata_version=25), existing)
    assert found.steps == found.refusals == ()
    assert [(left.subject, left.missing) for left in found.left_out] == [("metadata.version", False)]


@pytest.mark.parametrize("existing", ["keep", "align"])
def test_what_the_brokers_do_not_know_is_missing_by_name(existing: str) -> None:
    found = plan(image(metadata_version=30, streams_version=1), image(metadata_version=25), existing)
    assert found.steps == ()
    assert [(left.subject, left.missing) for left in found.left_out] == [
        ("metadata.version", True),
        ("streams.version", True),
    ]


def test_levels_that_could_not_be_read_are_not_taken_for_absent() -> None:
    blind = image()
    blind = replace(blind, inventory=replace(blind.inventory, unreadable=("features",)))
    assert len(plan(image(share_version=1), blind).refusals) == 1
    assert [left.missing for left in plan(blind, image()).left_out] == [True]
