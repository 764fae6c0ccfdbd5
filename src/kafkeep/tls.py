"""How a server's certificate is checked and which one is shown to it, for brokers and for the servers beside them. Pure."""

from __future__ import annotations

from kafkeep.errors import SettingsError
from kafkeep.records import dataclass
from kafkeep.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """Files are PEM. Without `ca_file` the system's trusted authorities are used."""

    ca_file: str | None = None
    cert_file: str | None = None
    """The client's own certificate chain, for servers that ask for one (mutual TLS)."""
    key_file: str | None = None
    """The key of `cert_file`; None when it lies in the same file."""
    key_password: Secret | None = None
    check_hostname: bool = True
    verify: bool = True
    """False accepts any certificate: for a first look at a broken set-up only."""

    def __post_init__(self) -> None:
        if self.key_file is not None and self.cert_file is None:
            raise SettingsError("tls key_file is given without cert_file")
