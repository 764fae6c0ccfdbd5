"""From the settings of a cluster to the servers beside it, secrets fetched and checked on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from kafkeep.cli.common import Run
from kafkeep.cli.tls import fetched_secret, tls_config
from kafkeep.events import Warned

if TYPE_CHECKING:
    from kafkeep.rest import RestConfig
    from kafkeep.services import Services
    from kafkeep.settings import ServiceSettings


@contextmanager
def opened_services(run: Run, spec: str) -> Iterator[Services]:
    """Registry and Connect of `--cluster`, as far as its table in the settings names them. Nothing is asked yet."""
    from kafkeep.services import NO_SERVICES, Services

    registry, connect = service_configs(run, spec)
    if registry is None and connect is None:
        yield NO_SERVICES
        return
    from kafkeep.connect.client import ConnectCluster
    from kafkeep.registry.client import MEDIA, SchemaRegistry
    from kafkeep.rest import RestClient

    with ExitStack() as stack:
        sink = run.output.event
        services = Services(
            registry=None
            if registry is None
            else SchemaRegistry(stack.enter_context(RestClient(registry, rng=run.rng, sink=sink, media=MEDIA))),
            connect=None
            if connect is None
            else ConnectCluster(stack.enter_context(RestClient(connect, rng=run.rng, sink=sink))),
        )
        yield services


def has_connect(run: Run, spec: str) -> bool:
    """True when the settings name a Kafka Connect beside this cluster."""
    cluster = run.settings.settings.cluster.get(spec)
    return cluster is not None and cluster.connect is not None


def service_configs(run: Run, spec: str) -> tuple[RestConfig | None, RestConfig | None]:
    """Of registry and Connect; None for one that the settings do not name."""
    cluster = run.settings.settings.cluster.get(spec)
    if cluster is None:
        return None, None
    found = []
    for kind, told, settings in (
        ("registry", "registry", cluster.registry),
        ("connect", "Kafka Connect", cluster.connect),
    ):
        key = f"cluster.{spec}.{kind}"
        found.append(None if settings is None else _configured(run, key, f"{told} of cluster {spec}", settings))
    return found[0], found[1]


def _configured(run: Run, key: str, name: str, service: ServiceSettings) -> RestConfig:
    from kafkeep.rest import RestConfig
    from kafkeep.tls import TlsConfig

    login = service.password is not None or service.bearer is not None
    if login and service.url.startswith("http:"):
        run.output.event(Warned(f"{key} sends its login unencrypted", "Use an https:// url."))
    return RestConfig(
        name=name,
        url=service.url,
        username=service.username,
        password=fetched_secret(run, f"{key}.password", service.password),
        bearer=fetched_secret(run, f"{key}.bearer", service.bearer),
        tls=TlsConfig() if service.tls is None else tls_config(run, f"{key}.tls", service.tls, "server"),
        request_timeout_seconds=service.request_timeout_seconds,
    )
