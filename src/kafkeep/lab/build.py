"""Builds a lab: Kafka and Java found, folder claimed, nodes configured, formatted and started, users made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from kafkeep.errors import LabError
from kafkeep.lab import config, files, logins, process, state, storage, tls
from kafkeep.lab.cache import Progress, quiet
from kafkeep.lab.cluster import Lab, PortTaken, new_id
from kafkeep.lab.config import LabOptions, NodeLayout, SecurityFiles
from kafkeep.lab.guard import Guard
from kafkeep.lab.java import Java, KafkaHome, find_java, find_kafka
from kafkeep.lab.state import LabState, NodeState
from kafkeep.logger import get_logger

log = get_logger(__name__)

_ATTEMPTS = 3


def start(
    options: LabOptions,
    *,
    directory: Path,
    env: Mapping[str, str],
    now: datetime,
    owned: bool = True,
    progress: Progress = quiet,
) -> Lab:
    """A running, ready lab in `directory`, which must be new, empty or a stopped lab's.

    `owned`: the lab ends when this process does, even by SIGKILL; otherwise it runs on until `Lab.stop`. `env` tells
    where Java, Kafka and the cache are (KAFKA_HOME, JAVA_HOME, PATH, KAFKEEP_CACHE …) and is what brokers get. `now`
    dates the certificates. Raises LabError, MissingDependency; nothing is left running or lying about then.
    """
    java = find_java(env)
    home = find_kafka(options.kafka, env=env, progress=progress)
    directory = directory.absolute()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _start_once(options, directory, java, home, env, now, owned)
        except PortTaken:
            if attempt == _ATTEMPTS:
                raise
            log.info("port taken, trying others", attempt=attempt)
    raise LabError("unreachable")


def _start_once(
    options: LabOptions,
    directory: Path,
    java: Java,
    home: KafkaHome,
    env: Mapping[str, str],
    now: datetime,
    owned: bool,
) -> Lab:
    files.claim(directory)
    with files.locked(directory):
        _refuse_running(directory)
        files.clear(directory)
        guard = Guard(directory, env=env) if owned else None
        lab: Lab | None = None
        try:
            current = _prepare(options, directory, java, home, env, now)
            lab = Lab(directory, current, env=env, guard=guard)
            for node in lab.nodes:
                node.start(wait=False)
            lab.wait_ready()
            if options.security == config.SASL:
                lab.put_scram_users()
        except BaseException:
            _undo(lab, directory, guard)
            raise
    log.info("lab started", kafka=home.version, brokers=options.brokers, security=options.security)
    return lab


def _refuse_running(directory: Path) -> None:
    current = state.read(directory)
    if current is not None and any(process.find(node.process) for node in current.nodes):
        raise LabError(
            f"a lab runs already in {directory}", hint="Use it, end it with `kafkeep lab down`, or give another --dir."
        )


def _undo(lab: Lab | None, directory: Path, guard: Guard | None) -> None:
    if lab is not None:
        for node in lab.nodes:
            node.kill()
    files.clear(directory)
    files.remove_if_empty(directory)
    if guard is not None:
        guard.dismiss()


def _prepare(
    options: LabOptions, directory: Path, java: Java, home: KafkaHome, env: Mapping[str, str], now: datetime
) -> LabState:
    """Everything up to formatted storage; the state file is there from here on."""
    layouts = _layouts(options, directory)
    security = _security(options, directory, now)
    log_config = directory / files.LOG_CONFIG
    log_config.write_text(config.log_properties(home.major), encoding="utf-8")
    jwks_url = "" if security is None else security.jwks_url
    jvm = config.jvm_options(options, kafka_major=home.major, log_config=log_config, jwks_url=jwks_url)
    for layout in layouts:
        layout.folder.mkdir(mode=0o700)
        settings = config.server_properties(
            layout,
            options,
            kafka_major=home.major,
            controller_port=layouts[0].ports[config.CONTROLLER],
            security=security,
        )
        files.write_private(layout.properties_file, config.properties_text(settings))
    cluster_id = new_id()
    storage.format_nodes(
        layouts,
        options.log_dirs,
        cluster_id,
        [_format_command(layout, cluster_id, java, home, jvm) for layout in layouts],
        key=(java.executable, home.class_path, repr(options)),
        env=env,
    )
    nodes = tuple(
        NodeState(
            node_id=layout.node_id,
            controller=layout.controller,
            ports=dict(layout.ports),
            command=_broker_command(layout, java, home, jvm),
            log_dirs=tuple(str(path) for path in layout.log_dirs(options.log_dirs)),
        )
        for layout in layouts
    )
    current = LabState(
        kafka=home.version,
        cluster_id=cluster_id,
        security=options.security,
        java=str(java.executable),
        class_path=home.class_path,
        nodes=nodes,
    )
    _write_settings(options, directory, nodes)
    state.write(directory, current)
    return current


def _write_settings(options: LabOptions, directory: Path, nodes: tuple[NodeState, ...]) -> None:
    addresses = [f"{config.HOST}:{node.ports[config.main_listener(options.security)]}" for node in nodes]
    text = config.kafkeep_toml(
        options.security, addresses, directory / files.TLS_FOLDER, directory / files.LOGIN_FOLDER
    )
    (directory / files.SETTINGS).write_text(text, encoding="utf-8")


def _layouts(options: LabOptions, directory: Path) -> list[NodeLayout]:
    names = {
        node_id: config.listener_names(options.security, controller=node_id == 1)
        for node_id in range(1, options.brokers + 1)
    }
    ports = iter(files.free_ports(sum(map(len, names.values()))))
    return [
        NodeLayout(
            node_id=node_id,
            folder=files.node_folder(directory, node_id),
            ports={name: next(ports) for name in listeners},
            controller=node_id == 1,
        )
        for node_id, listeners in names.items()
    ]


def _security(options: LabOptions, directory: Path, now: datetime) -> SecurityFiles | None:
    """Certificates, users and the Java tools' client.properties."""
    if options.security == config.PLAINTEXT:
        files.write_private(
            directory / files.CLIENT_PROPERTIES, config.properties_text(config.client_properties(config.PLAINTEXT))
        )
        return None
    certificates = tls.make(directory / files.TLS_FOLDER, now=now)
    users = logins.make(directory / files.LOGIN_FOLDER)
    passwords = {name: users.password(name).reveal() for name in config.PLAIN_USERS}
    client = config.client_properties(options.security, ca=certificates.ca, password=passwords[config.ADMIN])
    files.write_private(directory / files.CLIENT_PROPERTIES, config.properties_text(client))
    return SecurityFiles(
        server_store=certificates.server,
        ca=certificates.ca,
        jwks_url=users.jwks_url,
        passwords=passwords,
        client_principal=tls.CLIENT_PRINCIPAL,
    )


def _format_command(
    layout: NodeLayout, cluster_id: str, java: Java, home: KafkaHome, jvm: tuple[str, ...]
) -> list[str]:
    shared = [option for option in jvm if option.startswith(config.FOR_EVERY_JVM)]
    options = ["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *shared, *java.quiet_options()]
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(layout.properties_file)]
    return [str(java.executable), *options, "-cp", home.class_path, *tool]


def _broker_command(layout: NodeLayout, java: Java, home: KafkaHome, jvm: tuple[str, ...]) -> tuple[str, ...]:
    """The properties file comes last: by it a process is known to be ours."""
    options = (*jvm, *java.quiet_options())
    return (str(java.executable), *options, "-cp", home.class_path, "kafka.Kafka", str(layout.properties_file))
