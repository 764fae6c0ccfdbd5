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
    check_url,
    nearest,
    split_bootstrap,
)

if TYPE_CHECKING:
    from kafkeep.settings.checking import SECRET_HINT
    from kafkeep.settings.tables import (
        SECRET_KEYS,
        AzureSettings,
        ClientCredentials,
        ClusterSettings,
        GcsSettings,
        RepositorySettings,
        S3Settings,
        SaslSettings,
        Seconds,
        SecretSource,
        ServiceSettings,
        Settings,
        Strict,
        Text,
        TlsSettings,
        WorkersSettings,
        model_of,
        models,
    )

__all__: Final = [
    "ALLOW_INSECURE",
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "MAX_FILE_BYTES",
    "MECHANISMS",
    "SECRET_HINT",
    "SECRET_KEYS",
    "SECURITY_NAMES",
    "AzureSettings",
    "ClientCredentials",
    "ClusterSettings",
    "GcsSettings",
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
    "check_url",
    "find_file",
    "load",
    "model_of",
    "models",
    "nearest",
    "split_bootstrap",
]


def __getattr__(name: str) -> Any:
    """Models and what belongs to them, when somebody asks for one: they load pydantic."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kafkeep.settings import checking, tables

    return getattr(checking if name == "SECRET_HINT" else tables, name)
