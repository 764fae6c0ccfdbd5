"""Brings Kafka's pinned jars into the cache, each checked against its SHA-256 before it is ever used.

Layout: `CACHE/kafka/VERSION/*.jar` and `verified.json`, which holds each checked file's size and mtime so that later
starts need not hash again. Downloads go to a private folder beside it and are renamed into place one by one: a killed
fetch leaves nothing half-written, and the next one goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from kafkeep.errors import LabError, MissingDependency
from kafkeep.lab import jarlist
from kafkeep.lab.jarlist import Jar
from kafkeep.logger import get_logger

log = get_logger(__name__)

STAMP = "verified.json"
_THREADS = 8
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30
_DEADLINE_SECONDS = 900.0
_NEEDED_FREE_BYTES = 256 * 1024 * 1024

Progress = Callable[[int, int], None]
"""Called with (jars that are there, jars in all)."""


def quiet(done: int, total: int) -> None:
    """The progress of callers that do not listen."""


def cache_folder(env: Mapping[str, str]) -> Path:
    """`KAFKEEP_CACHE`, else `kafkeep` in the XDG cache folder."""
    if given := env.get("KAFKEEP_CACHE"):
        return Path(given).expanduser().absolute()
    base = env.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(env.get("HOME", "~")).expanduser() / ".cache") / "kafkeep"


def fetch(version: str, *, env: Mapping[str, str], progress: Progress = quiet) -> Path:
    """The folder with the checked jars of a pinned Kafka version, downloaded as far as they are missing.

    Safe to call from several processes at once: one fetches, the others wait for it. Raises LabError when a download
    or a check fails, MissingDependency when a download is needed and jgo is not installed.
    """
    folder = cache_folder(env) / "kafka" / version
    bring(folder, jarlist.pinned(version), env=env, progress=progress)
    return folder


def bring(folder: Path, jars: tuple[Jar, ...], *, env: Mapping[str, str], progress: Progress = quiet) -> None:
    """Makes a folder hold exactly these jars, checked; what `fetch` does for a pinned list."""
    try:
        if _stamped(folder, jars):
            return
        folder.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _stamped(folder, jars):
                _complete(folder, jars, env, progress)
    except OSError as error:
        raise LabError(
            f"cannot fill the jar cache {folder}: {error.strerror or error}",
            hint="Set KAFKEEP_CACHE to a folder that can be written and has 256 MB free.",
        ) from error


def _stamped(folder: Path, jars: tuple[Jar, ...]) -> bool:
    """True when the folder holds exactly the listed jars, each as it was when its digest was checked."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
        present = {entry.name: entry.stat() for entry in os.scandir(folder) if entry.name.endswith(".jar")}
    except (FileNotFoundError, ValueError):
        return False
    expected = {jar.file_name: jar.sha256 for jar in jars}
    found = {name: [expected.get(name), info.st_size, info.st_mtime_ns] for name, info in present.items()}
    return present.keys() == expected.keys() and isinstance(stamp, dict) and stamp == found


def _complete(folder: Path, jars: tuple[Jar, ...], env: Mapping[str, str], progress: Progress) -> None:
    """Keeps what is right, removes what is not in the list, fetches the rest and writes the stamp."""
    expected = {jar.file_name for jar in jars}
    for stranger in (path for path in folder.glob("*.jar") if path.name not in expected):
        stranger.unlink()  # the class path is the whole folder
    missing = [jar for jar in jars if not _is_right(folder / jar.file_name, jar)]
    progress(len(jars) - len(missing), len(jars))
    if missing:
        if shutil.disk_usage(folder).free < _NEEDED_FREE_BYTES:
            raise LabError(f"less than 256 MB free for Kafka's jars in {folder}")
        log.info("fetching kafka jars", missing=len(missing), total=len(jars))
        _download_all(folder, missing, len(jars), env, progress)
    stamp = {
        jar.file_name: [
            jar.sha256,
            (folder / jar.file_name).stat().st_size,
            (folder / jar.file_name).stat().st_mtime_ns,
        ]
        for jar in jars
    }
    fresh = folder / f".{STAMP}.{os.getpid()}"
    fresh.write_text(json.dumps(stamp, indent=0), encoding="utf-8")
    fresh.replace(folder / STAMP)


def _is_right(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _download_all(folder: Path, missing: list[Jar], total: int, env: Mapping[str, str], progress: Progress) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    mirror = maven_mirror(env)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch, _certificates(env):
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="kafkeep-fetch")
        try:
            work = [pool.submit(_download, jar, folder, Path(scratch), mirror, deadline) for jar in missing]
            for done, future in enumerate(as_completed(work), start=1):
                future.result()
                progress(total - len(missing) + done, total)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _download(jar: Jar, folder: Path, scratch: Path, mirror: str | None, deadline: float) -> None:
    """One jar through jgo into a private folder, checked, then renamed into place; a few attempts."""
    reason = "no time left"
    for attempt in range(_ATTEMPTS):
        if time.monotonic() > deadline:
            break
        # A broken download stays in jgo's folder and would be taken for the jar, so every attempt has its own.
        private = scratch / f"{jar.file_name}.{attempt}"
        try:
            path = _resolve(jar, private, mirror)
        except (RuntimeError, OSError) as error:  # requests' exceptions are OSErrors, jgo raises RuntimeError
            reason = f"{type(error).__name__}: {error}"
            time.sleep(attempt + 0.5)
            continue
        if _is_right(path, jar):
            path.replace(folder / jar.file_name)
            return
        reason = "the bytes do not match the pinned SHA-256"
    raise LabError(
        f"cannot fetch {jar} from {mirror or 'Maven Central'}: {reason}",
        hint="Check the network; HTTPS_PROXY, REQUESTS_CA_BUNDLE or SSL_CERT_FILE and a mirror in ~/.m2/settings.xml"
        " are honoured. Or set KAFKA_HOME to an unpacked Kafka.",
    )


def _resolve(jar: Jar, cache: Path, mirror: str | None) -> Path:
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise MissingDependency(
            "fetching Kafka needs the package jgo",
            hint="Install it with `pip install 'kafkeep[lab]'`, or set KAFKA_HOME to an unpacked Kafka.",
        ) from error
    remotes = None if mirror is None else {"mirror": mirror}  # None: jgo's own default, Maven Central
    context = MavenContext(repo_cache=cache, resolver=PythonResolver(), remote_repos=remotes, timeout=_TIMEOUT_SECONDS)
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    return Path(component.artifact(jar.classifier).resolve())


def maven_mirror(env: Mapping[str, str]) -> str | None:
    """The mirror of Maven Central that the user's ~/.m2/settings.xml names, as Maven itself would take it."""
    settings = Path(env.get("HOME", "~")).expanduser() / ".m2" / "settings.xml"
    try:
        return mirror_of_central(settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read the mirrors in {settings}: {error}") from error


def mirror_of_central(settings: str) -> str | None:
    """The URL of the first mirror in a Maven settings.xml that stands for Maven Central, None without one."""
    for mirror in ET.fromstring(settings).iterfind(".//{*}mirror"):
        url = (mirror.findtext("{*}url") or "").strip()
        covered = {part.strip() for part in (mirror.findtext("{*}mirrorOf") or "").split(",")}
        blocked = (mirror.findtext("{*}blocked") or "").strip() == "true"
        if url and not blocked and covered & {"*", "external:*", "central"} and "!central" not in covered:
            return url.rstrip("/")
    return None


@contextmanager
def _certificates(env: Mapping[str, str]) -> Iterator[None]:
    """Lets `requests` (under jgo) trust what the machine trusts.

    It knows only its own bundle and two variables of its own, so behind a company's TLS proxy it fails where pip and
    openssl work. Unless those variables are set, it is given SSL_CERT_FILE or the system's bundle.
    """
    name = "REQUESTS_CA_BUNDLE"
    system = env.get("SSL_CERT_FILE") or _system_certificates()
    if env.get(name) or env.get("CURL_CA_BUNDLE") or system is None:
        yield
        return
    os.environ[name] = system
    try:
        yield
    finally:
        del os.environ[name]


def _system_certificates() -> str | None:
    """OpenSSL's own file or folder of trusted certificates, None where the machine has none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    hashed = bool(paths.capath) and any(Path(paths.capath).glob("*.0"))
    return paths.capath if hashed else None
