"""SASL logins as client state machines without I/O on the broker's socket: PLAIN here, the others in auth_*.py.

One exchange is: send `auth_bytes()`, give the broker's answer to `receive()`, until `is_done()`. The names are those of
kafka-python's mechanisms, so that its registry can hold these; the hot path drives them itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from kafkeep.errors import KafkaLoginError
from kafkeep.kafka.config import SaslConfig


class SaslMechanism(ABC):
    """One login, used once. Raises KafkaLoginError when the broker's part does not hold or a secret cannot be had."""

    def __init__(self, config: SaslConfig) -> None:
        self.config = config
        self._done = False

    @abstractmethod
    def auth_bytes(self) -> bytes:
        """The next message to the broker."""

    @abstractmethod
    def receive(self, auth_bytes: bytes) -> None:
        """Takes the broker's answer to the last message."""

    def is_done(self) -> bool:
        return self._done

    def is_authenticated(self) -> bool:
        return self._done

    @property
    def identity(self) -> str:
        """Who logs in, for messages."""
        return f"user {self.config.username}"

    def auth_details(self) -> str:
        return f"{self.identity} logged in with {self.config.mechanism}"

    def redact(self, text: str) -> str:
        """What a broker says about a failed login, shortened, printable, and without the secret should it echo it."""
        password = self.config.password
        if password is not None and password.reveal():
            text = text.replace(password.reveal(), "***")
        return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]


class PlainMechanism(SaslMechanism):
    """RFC 4616. Only sensible over TLS: the password goes as it is."""

    def auth_bytes(self) -> bytes:
        username, password = credentials(self.config)
        if "\0" in username or "\0" in password:
            raise KafkaLoginError("user names and passwords for PLAIN cannot hold a NUL character")
        return f"\0{username}\0{password}".encode()

    def receive(self, auth_bytes: bytes) -> None:
        self._done = True


def credentials(config: SaslConfig) -> tuple[str, str]:
    """User name and password in clear.

    Raises:
        KafkaLoginError: when either is missing.
    """
    if config.username is None or config.password is None:
        raise KafkaLoginError(f"login with {config.mechanism} needs a user name and a password")
    return config.username, config.password.reveal()


def sasl_mechanism(config: SaslConfig, host: str) -> SaslMechanism:
    """A fresh login to the broker `host`.

    Raises:
        MissingDependency: for GSSAPI and AWS_MSK_IAM without their extras.
    """
    # Late: SCRAM, tokens and Kerberos build on this module, and most logins need only one of them.
    from kafkeep.kafka import auth_external, auth_oauth, auth_scram

    match config.mechanism:
        case "PLAIN":
            return PlainMechanism(config)
        case "SCRAM-SHA-256" | "SCRAM-SHA-512":
            return auth_scram.ScramMechanism(config)
        case "OAUTHBEARER":
            return auth_oauth.OauthMechanism(config)
        case "GSSAPI":
            return auth_external.GssapiMechanism(config, host)
        case "AWS_MSK_IAM":
            return auth_external.MskIamMechanism(config, host)
        case other:
            raise KafkaLoginError(f"unknown sasl mechanism {other}")
