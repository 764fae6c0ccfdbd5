"""The faults that kafkeep is tested against, in words: a row of docs/faults.md each, and why some have no test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """`done`: what is done to kafkeep. `expected`: what must come of it. `note`: what the count does not say."""

    id: str
    done: str
    expected: str
    note: str = ""


GROUPS: Final = {
    "C": "Crash",
    "S": "Store",
    "I": "Integrity",
    "P": "Hostile input",
    "K": "Kafka",
    "G": "Retention",
    "E": "Secrets and operation",
    "R": "Restore and upgrade",
}

FAULTS: Final = (
    Fault(
        "C1",
        "SIGKILL at random moments of backups, prunings and compactions",
        "Opens; no committed record lost, none twice; goes on",
    ),
    Fault("C2", "Death before and after every call that changes the store or a file", "The same"),
    Fault(
        "C3", "Death at every step of removing what is kept no longer", "Nothing needed is gone; the next run ends it"
    ),
    Fault("C4", "Death while packs are gathered into larger ones", "The old runs or the new ones, never both or none"),
    Fault("C5", "SIGKILL during a restore, again and again", "Nothing lost, nothing twice"),
    Fault("C6", "SIGTERM and SIGINT at random moments", "What is sealed is committed; status 128+N, soon"),
    Fault("C7", "Power loss: what was not synced is gone or torn, in any order", "Opens; no reported commit is gone"),
    Fault("C8", "Death while a repository is made, or its keys change", "Absent, old or new, never unusable"),
    Fault("C9", "A writer is suspended while another goes on", "What it commits late is cut to fit or refused"),
    Fault(
        "C10",
        "Two full backups of a cluster into one repository at once",
        "Nothing covered twice; work in vain at most",
    ),
    Fault("C11", "Memory runs out", "As C1"),
    Fault("S1", "Every k-th request to the store fails, k from 2 to 20", "Completes with as many retries as faults"),
    Fault(
        "S2",
        "Half of all requests are refused for their rate",
        "Fewer requests at once, none fails, the pace comes back",
        "The refusals end after some hundreds of requests, not after ten minutes.",
    ),
    Fault("S3", "An object is created, the answer is lost, a commit's too", "The writer knows its own; one commit"),
    Fault("S4", "An object is not created, the answer is lost", "Made at the second try"),
    Fault("S5", "A creation arrives long after its answer was given up", "Refused, or it was the commit all along"),
    Fault(
        "S6",
        "Sixteen writers compete for each commit, with 409 in between",
        "Each makes progress; the log has no hole and nothing twice",
        "A number of commits for each writer, not ten minutes.",
    ),
    Fault(
        "S7", "An answer ends at each sixteenth, or with a wrong length", "Noticed and resumed; never taken as whole"
    ),
    Fault(
        "S8",
        "A bit changes on the way and is right when read again",
        "Read again; not reported as damage",
    ),
    Fault("S9", "A request stalls, or trickles at a byte a second, up or down", "Given up in its time and made again"),
    Fault(
        "S10", "Uploads in parts end with an error, or unclear", "Nothing is uploaded in parts: no request asks for it"
    ),
    Fault(
        "S11", "Deletions fail one by one, or a lock forbids them", "What is kept is unchanged; the next run goes on"
    ),
    Fault(
        "S12", "A listing fails, is empty, old, holed, doubled or foreign", "Nothing needed is deleted; backups go on"
    ),
    Fault("S13", "Reads show an earlier state, absence is remembered", "An older whole view; nothing is overwritten"),
    Fault(
        "S14",
        "Credentials end at any moment, and can be renewed or not",
        "Goes on, or ends with status 13; nothing is harmed",
    ),
    Fault("S15", "The clock is wrong by an hour or a day, or jumps", "Backups do not mind; ages are not believed"),
    Fault("S16", "The store replaces what it was asked to create", "No repository is made there"),
    Fault("S17", "The store refuses checksum headers", "None is sent there; the signature covers each body"),
    Fault(
        "S18",
        "The disk is full, failing or read-only at any write",
        "No damage; works again when there is room",
        "A pruning needs room for its own commits.",
    ),
    Fault("S19", "The repository's folder is read-only, removed or another's", "A clear error; a swap is noticed"),
    Fault("S20", "The store goes back to yesterday's state", "Refused until a person says that it was on purpose"),
    Fault(
        "S21",
        "Objects are locked against deletion for a time, and longer",
        "Works through all its life; nothing goes early",
    ),
    Fault("S22", "A writer without deletion, listing and reading of data", "Backs up; more is refused clearly"),
    Fault("I1", "Any byte of any object is changed", "Verify names object and range; restore refuses"),
    Fault("I2", "Any object is cut at any 64th, or longer", "Found"),
    Fault(
        "I3",
        "Any object is gone",
        "Found without reading packs, with the exact range",
        "Reports and offset maps are named by nothing, so the loss of one is not noticed.",
    ),
    Fault("I4", "Packs, runs, chunks, documents, commits change places", "Refused"),
    Fault("I5", "The last commits, the last run or the last chunk are gone", "The rollback or the cut is noticed"),
    Fault(
        "I6",
        "A commit is forged: signatures, roles, another place, overlaps, holes, unknown kinds, old epochs",
        "Counts for nothing, is told, and all readers agree",
    ),
    Fault("I7", "The compressor gives something else than it was given", "No pack is published"),
    Fault(
        "I8",
        "A bit of memory changes between broker and store",
        "Found before a commit, by CRC or by comparing",
        "Up to the hash of a chunk. What changes later, while it waits for its upload, is found by verify and by restores.",
    ),
    Fault("I9", "A batch's offset or leader epoch changes, its CRC stays right", "Found by digest and coverage"),
    Fault("I10", "The commit log is lost", "Built anew from packs, the same state"),
    Fault(
        "I11",
        "An attacker holds the key of the metadata alone",
        "Records are not readable, nothing can be retired",
        "Nothing can be retired where commits are signed.",
    ),
    Fault("P1", "Coverage-guided changes to every input that is parsed", "A typed error; no hang, no memory"),
    Fault("P2", "A broker that lies: lengths, counts, topics, offsets, answers to others", "Dropped, memory bounded"),
    Fault("P3", "Malformed records in batches whose CRC is right", "Stored as they are or refused; never a crash"),
    Fault("P4", "Decompression bombs: gzip, snappy, lz4, zstd, false sizes, huge windows", "The budget holds"),
    Fault(
        "P5", "Names that lead elsewhere: .., absolute, NUL, newline, bidi, long, devices", "Refused; nothing outside"
    ),
    Fault("P6", "Documents 100 000 levels deep, twice the same key, NaN, 10 million digits", "A typed error at once"),
    Fault("P7", "Terminal sequences in names and errors", "Harmless in output and logs"),
    Fault("P8", "Random steps on a repository and on a dictionary", "The same"),
    Fault("K1", "Leaders move every few seconds", "Complete"),
    Fault("K2", "Brokers are killed and started again in turn", "Complete"),
    Fault("K3", "An unclean election cuts the log below our offset", "Another lineage; histories never mixed"),
    Fault("K4", "Retention or a deletion overtakes the backup", "The exact gap; goes on; status 3"),
    Fault("K5", "A topic is deleted, or deleted and made again", "Its generation ends; offsets are not confused"),
    Fault("K6", "Compaction leaves holes; the backup paused too long", "Goes on; reads anew where it must"),
    Fault("K7", "Transactions open, aborted, hanging, cut by a point", "What was visible is what comes back"),
    Fault("K8", "Timestamps 0, negative, far off, out of order", "Byte for byte"),
    Fault("K9", "Headers repeated, null, empty, not UTF-8, 100 KB", "Byte for byte"),
    Fault("K10", "10 000 partitions, most of them idle", "Bounded memory; objects do not grow with partitions"),
    Fault("K11", "Batches above the size of a fetch, records of 100 MiB", "Captured"),
    Fault("K12", "Slow and half-open connections, log-ins that end", "Completes"),
    Fault("K13", "One broker is out of reach for long", "The others go on; resumes"),
    Fault("G1", "Random policies over random histories", "What is needed stays, and exactly the rest goes"),
    Fault("G2", "Recovery points dated back or ahead in number", "Genuine ones stay; it is told"),
    Fault("G3", "Removal beside writers and restores", "No object is missing"),
    Fault("G4", "A writer sleeps across one, two or three epochs", "Accepted or refused by the rule"),
    Fault("G5", "A policy that is empty, zero, misspelled, or says everything", "Refused, status 24 or 2"),
    Fault("G6", "Undone in its window, and after the removal", "Back, or refused"),
    Fault("G7", "The keys of one topic are destroyed", "It is unreadable, the others are not, and verify says so"),
    Fault("G8", "The log is trimmed, hints are lost, forged roots offered", "The head is found; forgeries are refused"),
    Fault("G9", "Good runs are copied into garbage, then the originals retired", "The removal looks and stops"),
    Fault("G10", "A writer sleeps before its commit, the log is trimmed", "It is told that it did not commit"),
    Fault("E1", "Cryptography gives other answers than it should", "Refuses to run"),
    Fault("E2", "Wrong passphrases, foreign keys, weak parameters", "Status 12, bounded work"),
    Fault("E3", "Nonces and keys over many runs; searches for plain text", "Unique; nothing is found"),
    Fault("E4", "The memory of the host is stolen after a change of keys", "Earlier keys are not in it"),
    Fault("E5", "Secrets of a known shape in every place that takes one", "In no output, no log and no file"),
    Fault("E6", "umask 000, secret files that others may read", "Files are private; others' files are refused"),
    Fault("E7", "TLS: expired, wrong host, unknown authority, old version, none", "Refused by default"),
    Fault("E8", "A security setting that is unknown or without effect", "Refused"),
    Fault("E9", "YAML and TOML with object tags, anchors that multiply", "Refused, bounded"),
    Fault(
        "E10",
        "Defaults of libraries change: retries, addressing, checksums, TLS",
        "What matters is set by kafkeep itself",
        "One version of each library, the one of requirements.lock.",
    ),
    Fault("R1", "Damage, then restores that refuse, stop or go around it", "Refused before anything, or exactly told"),
    Fault("R2", "A target that is not empty, too narrow, in use", "Refused, status 24, nothing changed"),
    Fault("R3", "The target's broker fails, throttles, refuses", "Resumes; nothing twice"),
    Fault("R4", "Restore against backup on one machine", "At least as fast, bounded memory"),
    Fault("R5", "A rehearsal on a damaged repository", "Fails and says why"),
    Fault("R6", "Repositories of every release, and damaged ones", "Read, or the exact diagnosis"),
    Fault("R7", "Old release on new repository and the other way", "Status 23 or works; never damages"),
    Fault("R8", "An independent reader restores runs", "Byte for byte"),
    Fault("R9", "Hours of backup under random faults", "Nothing lost, nothing twice"),
)
BY_ID: Final = {fault.id: fault for fault in FAULTS}

_EXACT: Final = "Held against real brokers by `tests/proof`, with its figures in [exactness.md](exactness.md)."
_KAFKA: Final = "Held against real brokers by `tests/integration`; not counted here."
_RUN: Final = "Part of `make soak`, whose length is chosen."

NOT_YET: Final = {
    **dict.fromkeys(("K3", "K4", "K5", "K6", "K7", "K8", "K9"), _EXACT),
    **dict.fromkeys(("K1", "K2", "K10", "K11", "K12", "K13"), _KAFKA),
    "R1": _KAFKA,
    "R2": _KAFKA,
    "R3": _KAFKA,
    "R4": "Measured by `make bench`, in [benchmarks.md](benchmarks.md).",
    "R5": "There is no rehearsal.",
    "R6": "Held by `tests/golden`; not counted here.",
    "R7": "There is one release.",
    "R8": "Held by `tests/golden`; not counted here.",
    "R9": _RUN,
}
"""Why a row has no marked test. A row that gets one leaves this table."""
