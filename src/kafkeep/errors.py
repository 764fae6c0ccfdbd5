"""Every error kafkeep raises on purpose.

KafkeepError                          slug                     exit  retryable
├─ UsageError                         usage                       2
│  ├─ SettingsError                   settings                    2
│  ├─ PointNotFound                   point-not-found             2
│  └─ MissingDependency               missing-dependency          2
├─ DoneWithGaps                       done-with-gaps              3
├─ NothingToDo                        nothing-to-do               4
├─ RepositoryNotFound                 no-repository              10
├─ RepositoryExists                   repository-exists           2
├─ HeldByAnotherWriter                held                       11
├─ KeyRefused                         key-refused                12
├─ StoreError                         store                      13
│  ├─ StoreUnavailable                store-unavailable          13   yes
│  ├─ StoreAccessDenied               store-access-denied        13
│  ├─ StoreFull                       store-full                 13
│  ├─ ObjectNotFound                  object-not-found           13
│  ├─ ObjectExists                    object-exists              13
│  └─ StoreNotCreateOnly              store-not-create-only      13
├─ KafkaError                         kafka                      14
│  ├─ KafkaUnreachable                kafka-unreachable          14   yes
│  ├─ KafkaLoginError                 kafka-login                14
│  ├─ KafkaAccessDenied               kafka-access-denied        14
│  ├─ KafkaRequestError               kafka-request              14   per code
│  ├─ KafkaProtocolError              kafka-protocol             14
│  ├─ KafkaUnsupported                kafka-unsupported          14
│  └─ WrongCluster                    wrong-cluster              14
├─ ServiceError                       service                    14
│  ├─ ServiceUnreachable              service-unreachable        14   yes
│  ├─ ServiceAccessDenied             service-access-denied      14
│  ├─ ServiceNotFound                 service-not-found          14
│  ├─ ServiceRequestError             service-request            14
│  └─ ServiceProtocolError            service-protocol           14
├─ CorruptionError                    corruption                 20
│  ├─ CorruptBatch                    corrupt-batch              20
│  ├─ CorruptObject                   corrupt-object             20
│  └─ CorruptChain                    corrupt-chain              20
├─ RestoredWithLoss                   restored-with-loss         21
├─ DifferencesFound                   differences                22
├─ UnknownFormat                      unknown-format             23
├─ GuardRefused                       guard                      24
│  ├─ TargetNotEmpty                  target-not-empty           24
│  ├─ TopicExists                     topic-exists               24
│  ├─ LossRefused                     declared-loss              24
│  ├─ GroupActive                     group-active               24
│  └─ PlanRefused                     plan-refused               24
├─ WorkerError                        worker                      1   yes
└─ LabError                           lab                         1

`slug`, `exit_code`, `retryable` and `hint` belong to the class; an instance may bring a better hint. Messages say what
failed and on what, in lower case and without a full stop; hints are full sentences that say what to do next. Neither
ever holds a secret. Errors of other libraries are translated once, in the module that calls the library.
"""

from __future__ import annotations

from typing import ClassVar


class KafkeepError(Exception):
    """Base of all errors raised on purpose; `str(error)` is the message without the hint."""

    slug: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = (
        "Run the command again with -v and report the output if the message does not explain it."
    )

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.retryable = type(self).default_retryable if retryable is None else retryable

    default_retryable: ClassVar[bool] = False


class UsageError(KafkeepError):
    slug = "usage"
    exit_code = 2
    default_hint = "Run the command with --help to see what it takes."


class SettingsError(UsageError):
    slug = "settings"
    default_hint = (
        "Correct the named key in kafkeep.toml, the environment or the option; docs/settings.md lists every key."
    )


class PointNotFound(UsageError):
    slug = "point-not-found"
    default_hint = "List what there is with `kafkeep points --repo R`."


class MissingDependency(UsageError):
    slug = "missing-dependency"
    default_hint = "Install the named extra, for example `pip install 'kafkeep[lab]'`."


class DoneWithGaps(KafkeepError):
    """Not a failure of the run: it ended, and part of what was asked for is declared missing."""

    slug = "done-with-gaps"
    exit_code = 3
    default_hint = "`kafkeep show POINT` lists each gap and each refused part with its reason."


class NothingToDo(KafkeepError):
    slug = "nothing-to-do"
    exit_code = 4
    default_hint = "Nothing matched the selection; widen --topics or check the names."


class RepositoryNotFound(KafkeepError):
    slug = "no-repository"
    exit_code = 10
    default_hint = "Create one with `kafkeep init --repo R`, or correct the URL."


class RepositoryExists(UsageError):
    slug = "repository-exists"
    default_hint = "Use the repository that is there, or give another place."


class HeldByAnotherWriter(KafkeepError):
    slug = "held"
    exit_code = 11
    default_hint = (
        "Run the command again when the other one has ended; only repositories made with --single-writer ask this."
    )


class KeyRefused(KafkeepError):
    slug = "key-refused"
    exit_code = 12
    default_hint = "Give the identity or passphrase that belongs to this repository."


class StoreError(KafkeepError):
    slug = "store"
    exit_code = 13
    default_hint = "Check that the place named in the message can be reached, read and written."


class StoreUnavailable(StoreError):
    slug = "store-unavailable"
    default_retryable = True
    default_hint = "The store did not answer in time; nothing that was committed is lost. Run the command again."


class StoreAccessDenied(StoreError):
    slug = "store-access-denied"
    default_hint = "Give this user the right named in the message."


class ObjectLocked(StoreAccessDenied):
    """The store keeps the object whatever is asked for, until a time or until its bucket says otherwise."""

    slug = "object-locked"
    default_hint = "Nothing is wrong: the object can be deleted when its lock has ended."


class StoreFull(StoreError):
    slug = "store-full"
    default_hint = "Free some space and run the command again; what was committed before is safe."


class ObjectNotFound(StoreError):
    slug = "object-not-found"


class ObjectExists(StoreError):
    slug = "object-exists"


class StoreNotCreateOnly(StoreError):
    slug = "store-not-create-only"
    default_hint = (
        "Use a store that can create an object only if it is absent. Where only one program ever writes, `kafkeep init"
        " --single-writer` takes this one; docs/stores.md tells what is lost by it."
    )


class KafkaError(KafkeepError):
    slug = "kafka"
    exit_code = 14
    default_hint = "Check the cluster's health and the broker named in the message."


class KafkaUnreachable(KafkaError):
    slug = "kafka-unreachable"
    default_retryable = True
    default_hint = "Check the bootstrap address, the security protocol and the network between here and the broker."


class KafkaLoginError(KafkaError):
    slug = "kafka-login"
    default_hint = "Check the user, the mechanism and the secret; the broker's log says why it refused."


class KafkaAccessDenied(KafkaError):
    slug = "kafka-access-denied"
    default_hint = (
        "Give this login the right named in the message (docs/operations.md lists the rights each verb needs)."
    )


class KafkaRequestError(KafkaError):
    """A broker answered with an error code; `code` is Kafka's number and `name` its name."""

    slug = "kafka-request"

    def __init__(
        self, message: str, *, code: int, name: str, hint: str | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.code = code
        self.name = name


class KafkaProtocolError(KafkaError):
    slug = "kafka-protocol"
    default_hint = (
        "The peer sent bytes that are not Kafka's protocol; check that the address is a broker's client listener."
    )


class KafkaUnsupported(KafkaError):
    slug = "kafka-unsupported"
    default_hint = "This broker is too old or lacks the feature named in the message."


class WrongCluster(KafkaError):
    slug = "wrong-cluster"
    default_hint = "One repository holds one source cluster; use another repository for another cluster."


class ServiceError(KafkeepError):
    """Of a server beside the cluster: a schema registry or Kafka Connect."""

    slug = "service"
    exit_code = 14
    default_hint = "Check the health of the server named in the message."


class ServiceUnreachable(ServiceError):
    slug = "service-unreachable"
    default_retryable = True
    default_hint = "Check the url in the settings, its certificate, and the network between here and the server."


class ServiceAccessDenied(ServiceError):
    """The server wants another login, or gives this one not the right: HTTP 401 and 403."""

    slug = "service-access-denied"
    default_hint = "Check username and password or the bearer token in the settings, and the rights of that login."


class ServiceNotFound(ServiceError):
    """The server answered that it has no such thing: HTTP 404 with its own error body."""

    slug = "service-not-found"
    default_hint = "What the message names is not there; somebody may have removed it meanwhile."


class ServiceRequestError(ServiceError):
    """The server refused a request; `status` is HTTP's and `code` the server's own number, 0 without one."""

    slug = "service-request"
    default_hint = "The message repeats the server's reason."

    def __init__(self, message: str, *, status: int, code: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class ServiceProtocolError(ServiceError):
    slug = "service-protocol"
    default_hint = "The answer is not what such a server gives: check that the url leads to its REST interface."


class CorruptionError(KafkeepError):
    slug = "corruption"
    exit_code = 20
    default_hint = "Run `kafkeep verify --level data` on the repository to see all that is damaged."


class CorruptBatch(CorruptionError):
    slug = "corrupt-batch"


class CorruptObject(CorruptionError):
    slug = "corrupt-object"


class CorruptChain(CorruptionError):
    slug = "corrupt-chain"


class RestoredWithLoss(KafkeepError):
    slug = "restored-with-loss"
    exit_code = 21
    default_hint = "The loss report names every missing range."


class DifferencesFound(KafkeepError):
    slug = "differences"
    exit_code = 22
    default_hint = "The first differences are listed above; --json gives all of them."


class UnknownFormat(KafkeepError):
    slug = "unknown-format"
    exit_code = 23
    default_hint = "The repository was written by a newer kafkeep; use that version or a later one."


class GuardRefused(KafkeepError):
    slug = "guard"
    exit_code = 24
    default_hint = "The message names what was protected and the option that overrides it."


class TargetNotEmpty(GuardRefused):
    slug = "target-not-empty"
    default_hint = "Restore under another name with --rename, or say --existing append to add behind what is there."


class TopicExists(GuardRefused):
    slug = "topic-exists"


class LossRefused(GuardRefused):
    """Something of what is to be restored is declared lost, and nobody has said that this may be."""

    slug = "declared-loss"
    default_hint = (
        "--allow-loss prefix ends each such partition in front of its first gap, --allow-loss skip leaves out the gaps "
        "alone."
    )


class GroupActive(GuardRefused):
    slug = "group-active"
    default_hint = "Stop the group's members first, or leave the group out with --groups."


class PlanRefused(GuardRefused):
    slug = "plan-refused"
    default_hint = "`--dry-run` prints the plan with every refusal and what would lift it."


class WorkerError(KafkeepError):
    """There are no workers to be had, or they are not what the coordinator needs."""

    slug = "worker"
    default_retryable = True
    default_hint = (
        "What was committed is safe, and the next run goes on from there; `--executor threads` needs no workers."
    )


class LabError(KafkeepError):
    slug = "lab"
    default_hint = "`kafkeep lab status` shows what runs; the broker's log is in the lab's folder."


class Interrupted(KafkeepError):
    """Ended by a signal; the exit status is 128 and the signal's number."""

    slug = "interrupted"
    exit_code = 130
    default_hint = "What was committed before is safe; run the command again to go on from there."


class UnexpectedError(KafkeepError):
    """What no other class speaks for: a defect of kafkeep until shown otherwise."""

    slug = "unexpected"
    default_hint = "Run the command again with -v and report the output: this is a defect of kafkeep."


def all_errors() -> list[type[KafkeepError]]:
    """Every class of the tree above, base first, depth first in definition order: what docs/errors.md lists.

    A room may have subclasses of its own; they go by the slug of the class here that they belong to.
    """
    found: list[type[KafkeepError]] = []

    def visit(cls: type[KafkeepError]) -> None:
        found.append(cls)
        for sub in cls.__subclasses__():
            if sub.__module__ == __name__:
                visit(sub)

    visit(KafkeepError)
    return found
