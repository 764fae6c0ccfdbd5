"""recreate.sh run by `sh` with tools that only note how they are called: every name and value arrives as it was."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.images import rich_image

from kafkeep.inventory import Acl, ConfigValue, Inventory, Quota, QuotaEntity, ResourceConfigs, ScramUser
from kafkeep.metadata.image import ClusterImage
from kafkeep.metadata.script import ScriptOptions, recreate_script
from kafkeep.metadata.shell import property_line, quote
from kafkeep.model import Group, GroupOffset, TopicMetadata, TopicPartition

AWKWARD = (
    *("'", '"', "\\", "$HOME", "`id`", "$(id)", "a b", " a ", "a\nb", "\n", "a\n\n", "-n", "--", "*", "~", "!x", "#"),
    *("a,b", "[a]", "a=b", "ünï→😀", "\t", "\r", "%s", "\\n", "\\u0041", "END", "END\nEND", '"$x', "'\\''", ";&|<>"),
)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
text = st.text(characters, min_size=1, max_size=8) | st.sampled_from(AWKWARD)
NOTE = """#!/bin/sh
number=$(ls "$NOTES" | wc -l)
number=$((number))
mkdir "$NOTES/$number"
printf '%s\\0' "${0##*/}" "$@" >"$NOTES/$number/words"
previous=
for word in "$@"; do
  case $previous in
    --add-config-file | --from-file) cp "$word" "$NOTES/$number/file" ;;
  esac
  previous=$word
done
case " $FAILING " in
  *" ${0##*/} "*) exit 1 ;;
esac
"""
SETTINGS = ("cluster-configs", "client-metrics", "quotas", "acls")
TOOLS = ("kafka-topics.sh", "kafka-configs.sh", "kafka-acls.sh", "kafka-consumer-groups.sh")


@dataclass(frozen=True)
class Call:
    tool: str
    words: tuple[str, ...]
    """Without the server and the client properties, which every call has."""
    file: str


@dataclass(frozen=True)
class Outcome:
    calls: list[Call]
    status: int
    told: str
    errors: str


def run(script: str, *parts: str, passwords: str | None = None, failing: str = "", shell: str = "sh") -> Outcome:
    with tempfile.TemporaryDirectory(prefix="a b ") as name:
        folder = Path(name)
        (folder / "notes").mkdir()
        (folder / "bin").mkdir()
        for tool in TOOLS:
            (folder / "bin" / tool).write_text(NOTE)
            (folder / "bin" / tool).chmod(0o700)
        (folder / "recreate.sh").write_text(script, encoding="utf-8", newline="")
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": name,
            "BOOTSTRAP": "here:1",
            "KAFKA_BIN": str(folder / "bin"),
            "COMMAND_CONFIG": "client properties",
            "NOTES": str(folder / "notes"),
            "FAILING": failing,
        }
        if passwords is not None:
            (folder / "passwords").write_text(passwords, encoding="utf-8", errors="surrogateescape", newline="")
            environment["PASSWORDS"] = str(folder / "passwords")
        command = [shell, str(folder / "recreate.sh"), *parts]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert {path.name for path in folder.iterdir()} <= {"notes", "bin", "recreate.sh", "passwords"}
        notes = sorted((folder / "notes").iterdir(), key=lambda path: int(path.name))
        return Outcome([call(note) for note in notes], done.returncode, done.stdout.decode(), done.stderr.decode())


def call(note: Path) -> Call:
    tool, *words = (note / "words").read_bytes().decode().split("\0")[:-1]
    assert words[:4] == ["--bootstrap-server", "here:1", "--command-config", "client properties"]
    file = note / "file"
    text = file.read_bytes().decode() if file.exists() else ""
    unstable = {"--add-config-file", "--from-file"}
    told = [word for previous, word in zip(["", *words], words, strict=False) if previous not in unstable]
    return Call(tool, tuple(told[4:]), text)


def properties(text: str) -> dict[str, str]:
    """As java.util.Properties.load reads lines without continuations."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*((?:[^\\=:\s]|\\.)*)[ \t]*[=: \t][ \t]*((?:[^\\]|\\.)*)", line)
        assert match, line
        found[unescaped(match[1])] = unescaped(match[2])
    return found


def unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2]

    plain = re.sub(r"\\(?:u([0-9a-f]{4})|(.))", one, text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def image_with(one: str, other: str) -> ClusterImage:
    """Wherever a cluster takes any text, that text."""
    inventory = Inventory(
        configs=(
            ResourceConfigs("client-metrics", one, (ConfigValue("match", other, "client-metrics"),)),
            ResourceConfigs("cluster", "", (ConfigValue("a.b", one, "cluster"), ConfigValue("c", other, "cluster"))),
        ),
        acls=(Acl("GROUP", f"x{one}x", "LITERAL", f"User:{other}x", "*", "DESCRIBE_CONFIGS", "DENY"),),
        quotas=(Quota(QuotaEntity((("client-id", None), ("user", one))), (("consumer_byte_rate", 1.5),)),),
    )
    topic = TopicMetadata("orders", "id", False, ((1, 2), (2, 1)), (("a", one), ("b", other)))
    position = GroupOffset(TopicPartition("orders", 1), 7, -1, other)
    groups = (Group(one, "consumer", "Empty", "consumer", (position,)),)
    return rich_image(topics=(topic,), groups=groups, inventory=inventory, origin=other)


@examples(25)
@given(text, text)
@example("a\nb", '"$x')
@example("$(id)", "'\\''")
@example("END\nEND", " a ")
def test_every_text_arrives_as_it_was(one: str, other: str) -> None:
    outcome = run(recreate_script(image_with(one, other)), "topics", "offsets", *SETTINGS)
    assert outcome.status == 0 and outcome.errors == ""
    topic, *calls = outcome.calls
    assert topic.words[:8] == (
        *("--create", "--if-not-exists", "--topic", "orders", "--partitions", "2", "--replication-factor", "2"),
    )
    told = {word.partition("=")[0]: word.partition("=")[2] for word in topic.words[9::2]}
    if calls[0].words[-2:] == ("orders", "--add-config-file"):
        told |= properties(calls.pop(0).file)
    assert told == {"a": one, "b": other}
    cluster, metrics, quota, acl = calls[:4]
    assert cluster.words == ("--alter", "--entity-type", "brokers", "--entity-default", "--add-config-file")
    assert properties(cluster.file) == {"a.b": one, "c": other}
    assert metrics.words[:5] == ("--alter", "--entity-type", "client-metrics", "--entity-name", one)
    assert properties(metrics.file) == {"match": other}
    assert quota.words[:7] == (
        *("--alter", "--entity-type", "users", "--entity-name", one, "--entity-type", "clients"),
    )
    assert quota.words[7] == "--entity-default" and properties(quota.file) == {"consumer_byte_rate": "1.5"}
    assert acl.words == (
        *("--add", "--group", f"x{one}x", "--resource-pattern-type", "literal"),
        *("--deny-principal", f"User:{other}x", "--deny-host", "*", "--operation", "DescribeConfigs"),
    )
    if "\n" in one or "\r" in one:
        assert len(calls) == 4, "Kafka's tool reads its file by lines"
    else:
        assert calls[4].words == ("--reset-offsets", "--from-file", "--execute", "--group", one)
        assert list(csv.reader(io.StringIO(calls[4].file, newline=""))) == [[one, "orders", "1", "7"]]


@examples(25)
@given(
    st.lists(text.filter(lambda name: not {"\n", "\t"} & set(name)), min_size=2, max_size=2, unique=True),
    text.filter(lambda name: "\n" not in name),
)
@example(["a", "a b"], "p\\u0041ss 'word'=,\t😀\r")
def test_a_password_arrives_by_file_alone(users: list[str], password: str) -> None:
    user, another = users
    image = rich_image(topics=(), groups=(), inventory=Inventory(scram_users=(ScramUser(user, "SCRAM-SHA-512", 8192),)))
    outcome = run(recreate_script(image), passwords=f"{another}\tother\n{user}\t{password}\n")
    (found,) = outcome.calls
    assert found.words[:5] == ("--alter", "--entity-type", "users", "--entity-name", user)
    assert properties(found.file) == {"SCRAM-SHA-512": f"iterations=8192,password={password}"}
    assert outcome.status == 0


def test_a_password_that_is_no_text_is_refused_and_not_cut_short() -> None:
    outcome = run(recreate_script(rich_image()), "users", passwords="alice\tgood\udcffbad\n")
    assert outcome.status == 1 and not outcome.calls
    assert "FAILED: user alice by SCRAM-SHA-256: iconv cannot read the password as UTF-8" in outcome.errors


def test_users_without_a_password_are_named() -> None:
    script = recreate_script(rich_image())
    without = run(script, "users")
    assert without.status == 0 and not without.calls
    assert "LEFT OUT: user alice by SCRAM-SHA-256: PASSWORDS names no file" in without.errors
    absent = run(script, "users", passwords="alic\tx\nalice\n")
    assert absent.status == 1 and not absent.calls
    assert absent.errors.count("FAILED: user alice by SCRAM-SHA-") == 2 and "2 of these failed" in absent.errors
    last = run(script, "users", passwords="alice\tend of file without a line break")
    assert last.status == 0 and len(last.calls) == 2


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_parts_are_done_in_their_order_and_what_fails_is_told(shell: str) -> None:
    script = recreate_script(rich_image())
    outcome = run(script, "acls", "topics", failing="kafka-topics.sh", shell=shell)
    assert [one.tool for one in outcome.calls] == ["kafka-topics.sh", "kafka-acls.sh", "kafka-acls.sh"]
    assert outcome.status == 1
    assert "FAILED: topic orders\n" in outcome.errors and "1 of these failed" in outcome.errors
    unknown = run(script, "topics", "tpics", shell=shell)
    assert unknown.status == 2 and not unknown.calls and "no such part: tpics" in unknown.errors
    without = run(script, shell=shell)
    everything = [one.words for one in without.calls]
    assert "Positions of groups are not set: load the records" in without.told
    assert {one.tool for one in without.calls} == {*TOOLS} - {"kafka-consumer-groups.sh"}
    assert not [words for words in everything if words[:5] == ("--alter", "--entity-type", "topics", "--entity-name")]
    (again,) = run(script, "topic-configs", shell=shell).calls
    assert properties(again.file) == {"cleanup.policy": "compact,delete", "min.insync.replicas": "1"}


def test_what_passes_is_left_out_and_what_is_hidden_is_named() -> None:
    script = recreate_script(rich_image())
    assert "throttled" not in script and "/data" not in script
    hidden = "configs of broker 1: listener.name.x.ssl.keystore.password: brokers do not show it; set it by hand"
    assert f"# LEFT OUT: {hidden}\n" in script
    assert "# LEFT OUT: topic __consumer_offsets: internal" in script
    assert "# LEFT OUT: positions of share group shared: " in script


def test_replicas_can_be_put_where_they_were() -> None:
    script = recreate_script(rich_image(), ScriptOptions(replica_assignment=True))
    (topic,) = run(script, "topics").calls
    assert topic.words[4:6] == ("--replica-assignment", "1:2,2:1")


@pytest.mark.parametrize(
    "acl",
    [
        Acl("CODE_9", "x", "LITERAL", "User:a", "*", "READ", "ALLOW"),
        Acl("TOPIC", "x", "LITERAL", "User:a", "*", "CODE_77", "ALLOW"),
        Acl("TOPIC", " x", "LITERAL", "User:a", "*", "READ", "ALLOW"),
        Acl("CLUSTER", "kafka", "PREFIXED", "User:a", "*", "ALTER", "ALLOW"),
        Acl("TOPIC", "a\0b", "LITERAL", "User:a\nb", "*", "READ", "ALLOW"),
    ],
)
def test_acls_that_cannot_be_told_to_the_tool_are_named(acl: Acl) -> None:
    script = recreate_script(rich_image(inventory=Inventory(acls=(acl,))))
    assert script.count("# LEFT OUT: ACLs ") + script.count('# LEFT OUT: "ACLs ') == 1
    assert not run(script, "acls").calls


def test_operations_of_one_binding_go_into_one_call() -> None:
    acls = tuple(Acl("TOPIC", "x", "LITERAL", "User:a", "*", operation, "ALLOW") for operation in ("ALTER", "READ"))
    (found,) = run(recreate_script(rich_image(inventory=Inventory(acls=acls))), "acls").calls
    assert found.words[-4:] == ("--operation", "Alter", "--operation", "Read")


@given(text, text)
def test_a_line_of_properties_is_read_back(key: str, value: str) -> None:
    line = property_line(key, value)
    assert line.isascii() and "\n" not in line
    assert properties(line) == {key: value}


def test_a_zero_byte_is_no_word() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        quote("a\0b")
