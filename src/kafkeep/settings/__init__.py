"""Strict settings: kafkeep.toml, then the environment, then flags; the later one wins.

`kafkeep.toml` has `[cluster.NAME]` and `[repository.NAME]`. The environment overrides single keys with
`KAFKEEP_CLUSTER__NAME__KEY=value` (two underscores between the parts, one more pair for each table inside, the name in
upper case with `_` for every other character). Unknown keys, unknown security options and security options that would
have no effect are refused. A secret is never written down here: only where to find it (`SecretSource`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafkeep.settings.loading import CONFIG_VARIABLE, ENV_PREFIX, MAX_FILE_BYTES, Loaded, Path_, find_file, load
from kafkeep.settings.words import (
    ALLOW_INSECURE,
    MECHANISMS,
    SECURITY_NAMES,
    check_endpoint,
    check_url,
    nearest,
    split_bootstrap,
)

if TYPE_CHECKING:
    from kafkeep.settings.checking import SECRET_HINT, read_table
    from kafkeep.settings.kinds import Key, Seconds, Strict, Text, keys
    from kafkeep.settings.tables import (
        AzureSettings,
        ClientCredentials,
        ClusterSettings,
        GcsSettings,
        RepositorySettings,
        S3Settings,
        SaslSettings,
        SecretSource,
        ServiceSettings,
        Settings,
        TlsSettings,
        WorkersSettings,
        models,
    )

__all__: Final = [
    "ALLOW_INSECURE",
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "MAX_FILE_BYTES",
    "MECHANISMS",
    "SECRET_HINT",
    "SECURITY_NAMES",
    "AzureSettings",
    "ClientCredentials",
    "ClusterSettings",
    "GcsSettings",
    "Key",
    "Loaded",
    "Path_",
    "RepositorySettings",
    "S3Settings",
    "SaslSettings",
    "Seconds",
    "SecretSource",
    "ServiceSettings",
    "Settings",
    "Strict",
    "Text",
    "TlsSettings",
    "WorkersSettings",
    "check_endpoint",
    "check_url",
    "find_file",
    "keys",
    "load",
    "models",
    "nearest",
    "read_table",
    "split_bootstrap",
]

_CHECKING: Final = ("SECRET_HINT", "read_table")
_KINDS: Final = ("Key", "Seconds", "Strict", "Text", "keys")


def __getattr__(name: str) -> Any:
    """Tables and what belongs to them, when somebody asks for one: they load msgspec."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kafkeep.settings import checking, kinds, tables

    return getattr(checking if name in _CHECKING else kinds if name in _KINDS else tables, name)
