"""Values on their way between coordinator and workers: to bytes and back, errors and secrets included; sealed where
others could read them.

Pickle is what carries them. Bytes are opened only from a pipe to a process of our own, or when they are authentic under
the worker key, or from a Dask scheduler that was trusted without a key.
"""

from __future__ import annotations

import io
import pickle
import secrets
import traceback
from types import MappingProxyType
from typing import Any, Final, Self

from kafkeep.errors import KafkeepError, KeyRefused, WorkerError
from kafkeep.secret import Secret

_SEALED: Final = b"KKW1"
_NONCE_BYTES: Final = 12
_KEY_DIGITS: Final = 64
_KEY_HINT: Final = "A worker key is 64 hexadecimal digits, for example from `openssl rand -hex 32`."


def _error(kind: type[KafkeepError], message: str, fields: dict[str, Any]) -> KafkeepError:
    """As it was, whatever its class asks for when one is made."""
    error = kind.__new__(kind, message)
    vars(error).update(fields)
    return error


def _view(table: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(table)


class _Carrier(pickle.Pickler):
    """A `Secret` refuses to be pickled, so that none gets into a file by accident. Here it is meant to travel."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return Secret, (value.reveal(),)
        if isinstance(value, KafkeepError):
            return _error, (type(value), value.message, vars(value))
        if isinstance(value, MappingProxyType):
            return _view, (dict(value),)
        return NotImplemented


def dump(value: object) -> bytes:
    """The value as bytes that hold its secrets in clear: for a pipe of our own, or to be sealed."""
    stream = io.BytesIO()
    _Carrier(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return stream.getvalue()


def load(data: bytes) -> Any:
    """What `dump` was given."""
    return pickle.loads(data)


def has_secrets(value: object) -> bool:
    """Whether `dump` would put a secret into its bytes."""
    found: list[bool] = []

    class Looking(_Carrier):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Secret):
                found.append(True)
            return super().reducer_override(value)

    Looking(io.BytesIO(), protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return bool(found)


def portable(error: BaseException) -> BaseException:
    """The error in a form that travels, with the place where it happened unless it is one of kafkeep's own."""
    try:
        if not isinstance(error, KafkeepError):
            error.add_note("in a worker:\n" + "".join(traceback.format_tb(error.__traceback__)))
        found = load(dump(error))
    except Exception as unfit:  # noqa: BLE001 - any class may refuse to travel in its own way
        return WorkerError(f"{type(error).__name__} in a worker, which cannot be sent ({type(unfit).__name__})")
    return error if type(found) is type(error) else WorkerError(f"{type(error).__name__} in a worker")


class WorkerKey:
    """What coordinator and workers share so that nobody between them reads or changes what they tell each other."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(_KEY_DIGITS // 2))

    @classmethod
    def parse(cls, given: Secret) -> Self:
        """From 64 hexadecimal digits, white space around them. Raises `KeyRefused`."""
        text = given.reveal().strip()
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(text) != _KEY_DIGITS or len(key) != _KEY_DIGITS // 2:
            raise KeyRefused("the worker key is not one", hint=_KEY_HINT)
        return cls(key)

    def reveal(self) -> str:
        """The text form: whoever has it can read and send what travels."""
        return self._key.hex()

    def seal(self, data: bytes, place: str) -> bytes:
        """AES-256-GCM. Only `unseal` with the same key and the same `place` opens it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _SEALED + nonce + AESGCM(self._key).encrypt(nonce, data, _SEALED + place.encode())

    def unseal(self, data: bytes, place: str) -> bytes:
        """Raises `KeyRefused` for what was sealed under another key or for another place, changed, or not sealed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        start = len(_SEALED) + _NONCE_BYTES
        if not data.startswith(_SEALED) or len(data) < start:
            raise KeyRefused("what came between coordinator and worker is not sealed", hint=_SAME_KEY)
        try:
            return AESGCM(self._key).decrypt(data[len(_SEALED) : start], data[start:], _SEALED + place.encode())
        except InvalidTag:
            raise KeyRefused("the worker key does not open what came", hint=_SAME_KEY) from None

    def __repr__(self) -> str:
        return "WorkerKey(***)"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a WorkerKey is not pickled")


_SAME_KEY: Final = (
    "Give coordinator and workers the same key: --worker-key-file here, KAFKEEP_WORKER_KEY_FILE or "
    "KAFKEEP_WORKER_KEY there."
)


def close(key: WorkerKey | None, value: object, place: str) -> bytes:
    """`dump`, sealed where there is a key."""
    data = dump(value)
    return data if key is None else key.seal(data, place)


def disclose(key: WorkerKey | None, data: bytes, place: str) -> Any:
    """The way back. Raises `KeyRefused`; what is not sealed is not even looked at where there is a key, nor what is where
    there is none."""
    if key is None and data.startswith(_SEALED):
        raise KeyRefused("this worker has no worker key, and what came is sealed", hint=_SAME_KEY)
    return load(data if key is None else key.unseal(data, place))
