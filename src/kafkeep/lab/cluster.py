"""A lab: one real Kafka cluster in one folder, and its nodes."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from kafkeep.errors import LabError
from kafkeep.lab import config, files, process, state, wire
from kafkeep.lab.guard import Guard
from kafkeep.lab.logins import Logins
from kafkeep.lab.state import LabState, NodeState
from kafkeep.lab.tls import TlsFiles
from kafkeep.logger import get_logger
from kafkeep.records import dataclass

log = get_logger(__name__)

_READY_SECONDS = 90.0
_GRACE_SECONDS = 10.0
_TOOL_SECONDS = 120.0

_TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "acls": "org.apache.kafka.tools.AclCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "producer-perf": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf": "org.apache.kafka.tools.ConsumerPerformance",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
}
_TOOLS_BEFORE_4 = {"acls": "kafka.admin.AclCommand", "dump-log": "kafka.tools.DumpLogSegments"}


class PortTaken(LabError):
    """A broker found its port in use: starting again with others helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    node_id: int
    roles: str
    ports: Mapping[str, int]
    pid: int | None
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LabStatus:
    directory: str
    kafka: str
    security: str
    cluster_id: str
    bootstrap: str
    running: bool
    """True when every node runs."""
    nodes: tuple[NodeStatus, ...]


class Node:
    """One broker of a lab; fault tests stop, kill, pause and start it."""

    def __init__(self, lab: Lab, node_id: int) -> None:
        self._lab = lab
        self.node_id = node_id

    @property
    def state(self) -> NodeState:
        return next(node for node in self._lab.state.nodes if node.node_id == self.node_id)

    @property
    def folder(self) -> Path:
        return files.node_folder(self._lab.directory, self.node_id)

    @property
    def log_file(self) -> Path:
        return self.folder / "server.log"

    @property
    def log_dirs(self) -> tuple[Path, ...]:
        """The folders with the broker's log segments."""
        return tuple(Path(path) for path in self.state.log_dirs)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        found = process.find(self.state.process)
        return None if found is None else found.pid

    def address(self, listener: str | None = None) -> str:
        """`host:port` of a listener by name, by default of the lab's first one."""
        name = config.main_listener(self._lab.security) if listener is None else listener
        return f"{config.HOST}:{self.state.ports[name]}"

    def start(self, *, wait: bool = True) -> None:
        """Starts the node where it was; waits until it and all running nodes see one another. Nothing when it runs."""
        if self.pid is None:
            identity = process.spawn(self.state.command, log=self.log_file, env=self._lab.env)
            self._lab.record(self.node_id, identity)
        if wait:
            self._lab.wait_ready()

    def stop(self, *, grace_seconds: float = 60.0) -> None:
        """SIGTERM: a controlled shutdown, leadership handed over first; SIGKILL after the grace."""
        self._end(lambda identity: process.end([identity], grace_seconds=grace_seconds))

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._end(process.kill)

    def pause(self) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        if self.state.process is not None:
            process.pause(self.state.process)

    def resume(self) -> None:
        """SIGCONT after `pause`."""
        if self.state.process is not None:
            process.resume(self.state.process)

    def _end(self, how: Callable[[process.ProcessId], None]) -> None:
        identity = self.state.process
        if identity is not None:
            how(identity)
            self._lab.record(self.node_id, None)


class Lab:
    """A running cluster. Made by `kafkeep.lab.start` (owned: ends with this process) or `Lab.attach` (somebody's).

    As a context manager it is stopped and removed at the end, whatever happened.
    """

    def __init__(
        self, directory: Path, current: LabState, *, env: Mapping[str, str], guard: Guard | None = None
    ) -> None:
        self.directory = directory
        self.env = dict(env)
        self._state = current
        self._guard = guard
        self._lock = threading.Lock()

    @classmethod
    def attach(cls, directory: Path, *, env: Mapping[str, str]) -> Lab:
        """The lab another process started in a folder; LabError when there is none."""
        found = cls.find(directory, env=env)
        if found is None:
            raise LabError(f"no lab in {directory}", hint="Start one with `kafkeep lab up`.")
        return found

    @classmethod
    def find(cls, directory: Path, *, env: Mapping[str, str]) -> Lab | None:
        """The same, None when there is none."""
        current = state.read(directory)
        return None if current is None else cls(directory, current, env=env)

    @property
    def state(self) -> LabState:
        return self._state

    @property
    def kafka(self) -> str:
        """The Kafka version."""
        return self._state.kafka

    @property
    def security(self) -> str:
        return self._state.security

    @property
    def cluster_id(self) -> str:
        return self._state.cluster_id

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(self, node.node_id) for node in self._state.nodes)

    def node(self, node_id: int) -> Node:
        """Raises LabError for a node the lab does not have."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise LabError(f"the lab has no node {node_id}")

    @property
    def bootstrap(self) -> str:
        """Bootstrap list of the first listener: plain, TLS or SASL over TLS."""
        return self.bootstrap_of(None)

    def bootstrap_of(self, listener: str | None) -> str:
        """Bootstrap list of a listener by name, see `config.LISTENERS`."""
        return ",".join(node.address(listener) for node in self.nodes)

    @property
    def tls(self) -> TlsFiles:
        """The certificates of a lab with TLS or SASL."""
        return TlsFiles(self.directory / files.TLS_FOLDER)

    @property
    def logins(self) -> Logins:
        """The users of a lab with SASL."""
        return Logins(self.directory / files.LOGIN_FOLDER)

    @property
    def client_properties_file(self) -> Path:
        """For Kafka's Java tools; it holds the admin's password in a lab with SASL."""
        return self.directory / files.CLIENT_PROPERTIES

    @property
    def settings_file(self) -> Path:
        """A kafkeep.toml with this cluster under the name `lab`."""
        return self.directory / files.SETTINGS

    def record(self, node_id: int, identity: process.ProcessId | None) -> None:
        """Notes a started or stopped process, durably for other processes' sake."""
        with self._lock:
            self._state = self._state.with_process(node_id, identity)
            state.write(self.directory, self._state)

    def wait_ready(self, *, timeout_seconds: float = _READY_SECONDS) -> None:
        """Returns when every started node that is not paused answers and lists all of them.

        Raises PortTaken or LabError with the end of the log when a node ends meanwhile, LabError after the timeout.
        """
        deadline = time.monotonic() + timeout_seconds
        started = (node for node in self._state.nodes if node.process is not None)
        wanted = frozenset(node.node_id for node in started if not process.is_paused(node.process))
        while not all(self._sees(node, wanted) for node in self._state.nodes if node.node_id in wanted):
            self._check_alive(wanted)
            if time.monotonic() > deadline:
                raise LabError(f"the lab in {self.directory} is not ready after {timeout_seconds:.0f} s")
            time.sleep(0.05)

    def _sees(self, node: NodeState, wanted: frozenset[int]) -> bool:
        port = node.ports[config.probe_listener(self.security)]
        with suppress(OSError):
            return wire.brokers(port) >= wanted
        return False

    def _check_alive(self, wanted: frozenset[int]) -> None:
        for node in (self.node(node_id) for node_id in wanted):
            if node.pid is not None:
                continue
            tail = files.log_tail(node.log_file)
            kind = PortTaken if "Address already in use" in tail else LabError
            raise kind(f"node {node.node_id} of the lab in {self.directory} ended; its log says:\n{tail}")

    def put_scram_users(self, *, timeout_seconds: float = 30.0) -> None:
        """Creates the SCRAM credentials and waits until every node knows them."""
        users = self.logins.scram_users()
        ports = [node.ports[config.INTERNAL] for node in self._state.nodes]
        names = frozenset(user.name for user in users)
        try:
            for mechanism in wire.MECHANISMS:  # a request may name a user only once
                wire.put_scram_users(ports[0], [user for user in users if user.mechanism == mechanism])
            deadline = time.monotonic() + timeout_seconds
            while not all(wire.knows_scram_users(port, names) for port in ports):
                if time.monotonic() > deadline:
                    raise LabError("the lab's brokers do not learn the SCRAM users")
                time.sleep(0.05)
        except OSError as error:
            raise LabError(f"cannot create the lab's SCRAM users: {error}") from error

    def status(self) -> LabStatus:
        nodes = tuple(
            NodeStatus(
                node_id=node.node_id,
                roles="broker, controller" if node.state.controller else "broker",
                ports=node.state.ports,
                pid=node.pid,
                running=node.pid is not None,
            )
            for node in self.nodes
        )
        return LabStatus(
            directory=str(self.directory),
            kafka=self.kafka,
            security=self.security,
            cluster_id=self.cluster_id,
            bootstrap=self.bootstrap,
            running=all(node.running for node in nodes),
            nodes=nodes,
        )

    def environment(self) -> dict[str, str]:
        """What `lab env` prints and `lab run` gives its command."""
        variables = {
            "KAFKEEP_LAB_DIR": str(self.directory),
            "KAFKEEP_LAB_KAFKA": self.kafka,
            "KAFKEEP_LAB_SECURITY": self.security,
            "KAFKEEP_LAB_CLUSTER_ID": self.cluster_id,
            "KAFKEEP_LAB_BOOTSTRAP": self.bootstrap,
            "KAFKEEP_LAB_CONFIG": str(self.settings_file),
            "KAFKEEP_LAB_CLIENT_PROPERTIES": str(self.client_properties_file),
        }
        if self.security != config.PLAINTEXT:
            variables |= {
                "KAFKEEP_LAB_CA_FILE": str(self.tls.ca),
                "KAFKEEP_LAB_CERT_FILE": str(self.tls.client_cert),
                "KAFKEEP_LAB_KEY_FILE": str(self.tls.client_key),
            }
        if self.security == config.SASL:
            variables |= {
                "KAFKEEP_LAB_SASL_MECHANISM": "SCRAM-SHA-512",
                "KAFKEEP_LAB_USERNAME": config.ADMIN,
                "KAFKEEP_LAB_PASSWORD_FILE": str(self.logins.password_file(config.ADMIN)),
            }
        return variables

    def tool_command(self, tool: str, *arguments: str) -> list[str]:
        """The command line of one of Kafka's Java tools (`topics`, `dump-log`, …) or of a main class by name."""
        names = _TOOLS | (_TOOLS_BEFORE_4 if int(self.kafka.split(".")[0]) < 4 else {})
        wanted = ("--enable", "--sun", *config.FOR_EVERY_JVM)
        quiet = [option for option in self._state.nodes[0].command if option.startswith(wanted)]
        options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *quiet]
        return [self._state.java, *options, "-cp", self._state.class_path, names.get(tool, tool), *arguments]

    def tool(
        self, tool: str, *arguments: str, stdin: str = "", timeout_seconds: float = _TOOL_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of Kafka's Java tools to its end; LabError when it fails or takes too long."""
        command = self.tool_command(tool, *arguments)
        try:
            return subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=True, env=self.env
            )
        except subprocess.CalledProcessError as error:
            told = (error.stderr or error.stdout).strip()[-2000:]
            raise LabError(f"kafka's tool {tool} failed with exit code {error.returncode}: {told}") from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"kafka's tool {tool} did not end within {timeout_seconds:.0f} s") from error

    def stop(self, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Ends every process and removes the folder's content; nothing when that is done already."""
        with files.locked(self.directory) if self.directory.is_dir() else nullcontext():
            if state.read(self.directory) is not None:
                self._end_all(grace_seconds)
                files.clear(self.directory)
                files.remove_if_empty(self.directory)
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None

    def _end_all(self, grace_seconds: float) -> None:
        """Brokers first: their controlled shutdown needs the controller, and would wait for it in vain."""
        for controllers in (False, True):
            identities = [
                node.process
                for node in self._state.nodes
                if node.controller == controllers and node.process is not None
            ]
            process.end(identities, grace_seconds=grace_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def new_id() -> str:
    """A random id as Kafka's own tool makes them: 16 bytes, URL-safe base64, never with a leading dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


def run_all(commands: Sequence[Sequence[str]], *, env: Mapping[str, str]) -> None:
    """Runs short commands side by side; LabError with what the first failing one printed."""
    children = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(env),
        )
        for command in commands
    ]
    try:
        told = [child.communicate(timeout=_TOOL_SECONDS)[0] for child in children]
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{commands[0][0]} did not end within {_TOOL_SECONDS:.0f} s") from error
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    for child, text in zip(children, told, strict=True):
        if child.returncode != 0:
            raise LabError(f"formatting a node's storage failed with exit code {child.returncode}:\n{text[-2000:]}")
