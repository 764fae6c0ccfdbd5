"""What holds for repositories holds for encrypted ones: the same properties, of fewer examples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.property import test_copying, test_keeping, test_repository_damage, test_repository_packs
from tests.support.sealed import encrypted

from kafkeep.verify.report import LEVELS


@pytest.fixture(autouse=True)
def for_the_test_identity() -> Iterator[None]:
    with encrypted():
        yield


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_byte_flips_in_every_object_are_found(compression: str) -> None:
    test_repository_damage.flip_bytes(compression, every=11)


@pytest.mark.parametrize(
    "damage",
    [
        test_repository_damage.test_random_flips_in_packs_are_found_and_named_to_the_chunk,
        test_repository_damage.test_flips_are_never_handed_to_a_restore,
        test_repository_damage.test_truncated_and_lengthened_objects_are_found,
        test_repository_damage.test_a_pack_of_another_size_is_found_without_reading_it,
        test_repository_damage.test_a_log_cut_short_is_noticed_by_what_else_is_known,
        test_repository_damage.test_objects_in_one_anothers_place_are_found,
        test_repository_damage.test_objects_of_another_repository_are_found,
        test_repository_damage.test_chunks_swapped_within_a_pack_are_found,
        test_repository_damage.test_damage_on_the_way_is_not_reported,
        test_repository_damage.test_every_level_reports_a_clean_repository_as_clean,
    ],
    ids=lambda damage: damage.__name__.removeprefix("test_"),
)
def test_damage_is_found(damage: object) -> None:
    assert callable(damage)
    damage()


@pytest.mark.parametrize("level", LEVELS[1:])
def test_any_missing_object_is_found(level: str) -> None:
    test_repository_damage.test_any_missing_object_is_found_with_the_coverage_it_held(level)


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_follows_its_source(seed: int) -> None:
    test_copying.test_a_copy_follows_its_source(seed)


@pytest.mark.parametrize("seed", range(100, 106))
def test_points_that_stay_hold_what_they_held(seed: int) -> None:
    test_keeping.test_points_that_stay_hold_what_they_held(seed)


@pytest.mark.parametrize("seed", range(2))
def test_deleted_is_what_was_swept_and_nothing_else(seed: int) -> None:
    test_keeping.test_deleted_is_what_was_swept_and_nothing_else(seed)


def test_any_pack_passes_verify_and_is_read_back_through_a_repository() -> None:
    test_repository_packs.test_any_pack_passes_verify_and_is_read_back_through_a_repository()
