"""What every recreate.sh has before and after its parts. Pure."""

from __future__ import annotations

from typing import Final

PARTS: Final = (
    "topics",
    "topic-configs",
    "cluster-configs",
    "broker-configs",
    "group-configs",
    "client-metrics",
    "quotas",
    "users",
    "acls",
    "offsets",
)
"""What a person can ask a script for, in the order in which it is done."""
BY_DEFAULT: Final = tuple(part for part in PARTS if part not in ("topic-configs", "offsets"))
"""Positions are asked for on their own: set before the records are there, Kafka's tool would move them to offset 0."""

_USAGE: Final = f"""\
# Recreates a Kafka cluster's topics, configs, quotas, users, ACLs and group positions with Kafka's own tools.
@SOURCE@
#
#   BOOTSTRAP=host:9092 sh recreate.sh [PART...]
#
# Parts, in this order: {" ".join(PARTS)}.
# Without a part all but topic-configs and offsets are done. Everything can be done again. A topic that is there already
# is left as it is; topic-configs sets the configs of such topics too.
# Positions (offsets) only fit when the records are there with the offsets they had: Kafka's tool moves a position that
# lies behind the end of a partition to the end. So load the records, then ask for the part `offsets`. Metadata strings
# and leader epochs of positions are not set: the tool cannot.
#
# From the environment:
#   BOOTSTRAP           address of the cluster
#   KAFKA_BIN           folder of kafka-topics.sh and the others, where they are not on PATH
#   COMMAND_CONFIG      file with client properties, for clusters with TLS or logins
#   REPLICATION_FACTOR  of all topics, in place of the source's
#   PASSWORDS           file with a line for each SCRAM user: the name, one tab, the password (UTF-8)
#
# Ends with 1 when something failed; it is named, and the rest is done all the same.\
"""

HEAD: Final = f"""\
#!/bin/sh
{_USAGE}

set -eu
: "${{BOOTSTRAP:?set it to the address of the cluster, host:port}}"
# Java reads its arguments in the encoding of the locale.
LC_ALL=C.UTF-8
export LC_ALL
umask 077
work="${{TMPDIR:-/tmp}}/kafkeep-recreate.$$"
mkdir "$work"
trap 'rm -r "$work"' EXIT
trap 'exit 1' HUP INT TERM
tab=$(printf '\\t')
failed=0

# try WHAT TOOL ARGUMENT...
try() {{
  what=$1
  tool=$2
  shift 2
  printf '%s\\n' "$what"
  if ! "${{KAFKA_BIN:+$KAFKA_BIN/}}$tool.sh" --bootstrap-server "$BOOTSTRAP" \\
    ${{COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"}} "$@" </dev/null; then
    failed=$((failed + 1))
    printf 'FAILED: %s\\n' "$what" >&2
  fi
}}

# configs WHAT ENTITY... <PROPERTIES
configs() {{
  cat >"$work/configs"
  about=$1
  shift
  try "$about" kafka-configs --alter "$@" --add-config-file "$work/configs"
}}

# scram USER MECHANISM ITERATIONS
scram() {{
  if [ -z "${{PASSWORDS:-}}" ]; then
    printf 'LEFT OUT: user %s by %s: PASSWORDS names no file\\n' "$1" "$2" >&2
    return 0
  fi
  password=
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      "$1$tab"*)
        password=${{line#"$1$tab"}}
        break
        ;;
    esac
  done <"$PASSWORDS"
  if [ -z "$password" ]; then
    failed=$((failed + 1))
    printf 'FAILED: user %s by %s: no password in PASSWORDS\\n' "$1" "$2" >&2
    return 0
  fi
  # Every character by its number: a file of properties is read as Latin-1, and has characters of its own.
  if ! printf '%s' "$password" | iconv -f UTF-8 -t UTF-16BE >"$work/password"; then
    failed=$((failed + 1))
    printf 'FAILED: user %s by %s: iconv cannot read the password as UTF-8\\n' "$1" "$2" >&2
    return 0
  fi
  {{
    printf '%s=iterations=%s,password=' "$2" "$3"
    od -An -v -tx1 <"$work/password" | tr -d ' \\t\\n' | sed 's/..../\\\\u&/g'
    printf '\\n'
  }} >"$work/user"
  configs "user $1 by $2" --entity-type users --entity-name "$1" <"$work/user"
}}
"""

_CALLS: Final = "\n".join(f"    {part}) part_{part.replace('-', '_')} ;;" for part in PARTS)

TAIL: Final = f"""\
for part in "$@"; do
  case " {" ".join(PARTS)} " in
    *" $part "*) ;;
    *)
      printf 'no such part: %s\\n' "$part" >&2
      exit 2
      ;;
  esac
done
if [ $# -eq 0 ]; then
  set -- {" ".join(BY_DEFAULT)}
  printf 'Positions of groups are not set: load the records, then ask for the part offsets.\\n'
fi
for part in {" ".join(PARTS)}; do
  case " $* " in
    *" $part "*) ;;
    *) continue ;;
  esac
  case $part in
{_CALLS}
  esac
done
if [ "$failed" -gt 0 ]; then
  printf '%s of these failed.\\n' "$failed" >&2
  exit 1
fi
"""
