"""S21: a bucket with object lock, on the service that all tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.locked_life import LockedBucket, live_locked, prolong_locked, without_lock
from tests.support.versitygw import S3Server, start


@pytest.fixture(scope="module")
def keeping_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A lock is on a version of an object, so the service must keep versions."""
    with start(tmp_path_factory.mktemp("s3"), versioning=True) as server:
        yield server


@pytest.mark.fault("S21")
def test_s21_life_of_a_locked_repository(keeping_versions: S3Server, tmp_path: Path) -> None:
    live_locked(LockedBucket(keeping_versions, tmp_path))


def test_a_bucket_without_lock_is_told_as_that(keeping_versions: S3Server, tmp_path: Path) -> None:
    without_lock(keeping_versions, tmp_path)


@pytest.mark.fault("S21")
def test_s21_locks_are_prolonged(keeping_versions: S3Server, tmp_path: Path) -> None:
    prolong_locked(LockedBucket(keeping_versions, tmp_path), tmp_path)
