"""Strict settings: kafkeep.toml, then the environment, then flags; the later one wins.

`kafkeep.toml` has `[cluster.NAME]` and `[repository.NAME]`. The environment overrides single keys with
`KAFKEEP_CLUSTER__NAME__KEY=value` (two underscores between the parts, one more pair for each table inside, the name in
upper case with `_` for every other character). Unknown keys, unknown security options and security options that would
have no effect are refused. A secret is never written down here: only where to find it (`SecretSource`).
"""

from __future__ import annotations

from kafkeep.settings.loading import (
    CONFIG_VARIABLE,
    ENV_PREFIX,
    MAX_FILE_BYTES,
    SECRET_HINT,
    Loaded,
    Path_,
    find_file,
    load,
    nearest,
)
from kafkeep.settings.tables import (
    ALLOW_INSECURE,
    MECHANISMS,
    SECRET_KEYS,
    SECURITY_NAMES,
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
    check_url,
    model_of,
    models,
    split_bootstrap,
)

__all__ = [
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
