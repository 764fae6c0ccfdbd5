"""From the settings of a cluster to what the kafka room takes, secrets fetched and checked on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kafkeep.cli.common import Run
from kafkeep.cli.secrets import read_secret
from kafkeep.cli.tls import fetched_secret, tls_config
from kafkeep.errors import SettingsError
from kafkeep.events import Warned
from kafkeep.kafka.config import ClientCredentials, ClusterConfig, SaslConfig, TokenCommand, TokenFile, TokenSource
from kafkeep.settings import nearest, split_bootstrap
from kafkeep.tls import TlsConfig

if TYPE_CHECKING:
    from kafkeep.settings import ClusterSettings, SaslSettings


def cluster_config(run: Run, spec: str) -> ClusterConfig:
    """The cluster behind --cluster: a name from the settings, or a plaintext bootstrap list."""
    known = run.settings.settings.cluster
    if spec in known:
        return configured(run, spec, known[spec])
    if ":" not in spec and "," not in spec and "@" not in spec:
        raise SettingsError(
            f"no cluster is named '{spec}'",
            hint=f"{nearest(spec, list(known))} An address is written host:port and means a plaintext listener.",
        )
    try:
        return ClusterConfig(name=spec, bootstrap=split_bootstrap(spec))
    except ValueError as error:
        raise SettingsError(
            f"--cluster {error}", hint="Write host:port[,host:port], or a name from the settings."
        ) from error


def configured(run: Run, name: str, cluster: ClusterSettings) -> ClusterConfig:
    """A `[cluster.NAME]` with its secrets. Options that weaken security are told as warnings each time."""
    key = f"cluster.{name}"
    sasl = _sasl(run, f"{key}.sasl", cluster.sasl) if cluster.sasl is not None else None
    tls = tls_config(run, f"{key}.tls", cluster.tls, "broker") if cluster.tls is not None else TlsConfig()
    securities = [cluster.security] + ([cluster.controller_security] if cluster.controller_security is not None else [])
    if "SASL_PLAINTEXT" in securities and sasl is not None and sasl.mechanism in ("PLAIN", "OAUTHBEARER"):
        _warn(run, f"{key} sends its {sasl.mechanism} login unencrypted", "Use security sasl_tls.")

    def listener(name: str, bootstrap: tuple[str, ...], security: str) -> ClusterConfig:
        return ClusterConfig(
            name=name,
            bootstrap=bootstrap,
            security_protocol=security,
            tls=tls,
            sasl=sasl if security.startswith("SASL_") else None,
            client_id=cluster.client_id,
            connect_timeout_seconds=cluster.connect_timeout_seconds,
            request_timeout_seconds=cluster.request_timeout_seconds,
        )

    found = listener(name, cluster.bootstrap, cluster.security)
    if cluster.controllers is None:
        return found
    return replace(found, controllers=listener(f"{name} (controllers)", cluster.controllers, securities[-1]))


def _warn(run: Run, message: str, hint: str) -> None:
    run.output.event(Warned(message, hint))


def _sasl(run: Run, key: str, sasl: SaslSettings) -> SaslConfig:
    return SaslConfig(
        mechanism=sasl.mechanism,
        username=sasl.username,
        password=fetched_secret(run, f"{key}.password", sasl.password),
        token=_token(run, key, sasl),
        service_name="kafka" if sasl.service_name is None else sasl.service_name,
        region=sasl.region,
    )


def _token(run: Run, key: str, sasl: SaslSettings) -> TokenSource | None:
    if sasl.token is not None and sasl.token.file is not None:
        fetched_secret(run, f"{key}.token", sasl.token)
        return TokenFile(sasl.token.file)
    if sasl.token is not None:
        return TokenCommand(sasl.token.command or ())
    if sasl.client_credentials is None:
        return None
    given = sasl.client_credentials
    secret = read_secret(given.client_secret, f"{key}.client_credentials.client_secret", run.env)
    return ClientCredentials(
        token_url=given.token_url,
        client_id=given.client_id,
        client_secret=run.redact.add(secret),
        scope=given.scope,
        ca_file=given.ca_file,
    )
