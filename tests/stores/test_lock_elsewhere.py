"""S21 again on a service that many use: two implementations of the same interface seldom err alike."""

from __future__ import annotations

from pathlib import Path

from tests.support.locked_life import LockedBucket, live_locked, prolong_locked, without_lock
from tests.support.object_servers import MinioServer


def test_s21_life_of_a_locked_repository(minio: MinioServer, tmp_path: Path) -> None:
    live_locked(LockedBucket(minio, tmp_path))


def test_a_bucket_without_lock_is_told_as_that(minio: MinioServer, tmp_path: Path) -> None:
    without_lock(minio, tmp_path)


def test_s21_locks_are_prolonged(minio: MinioServer, tmp_path: Path) -> None:
    prolong_locked(LockedBucket(minio, tmp_path), tmp_path)
