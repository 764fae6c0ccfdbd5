"""Whether the keys of an encrypted repository lie where they belong: without them its records are noise."""

from __future__ import annotations

from collections.abc import Iterator

from kafkeep.errors import CorruptionError, ObjectNotFound
from kafkeep.repository import names
from kafkeep.repository.envelope import Kind, object_limit
from kafkeep.repository.state import State
from kafkeep.repository.stores.base import Store
from kafkeep.verify.report import Finding


def key_findings(store: Store, state: State, *, whole: bool) -> Iterator[Finding]:
    """Wrapped keys that a recipient of the state lacks, with `whole` also damaged ones, and those of topics that were
    shredded. Whether a wrapped key opens, only its recipient can tell. Raises `StoreError`.
    """
    about = state.repository
    if about is None or about.encryption is None:
        return
    from kafkeep.repository.identities import Recipient, decode_wrap  # loads cryptography
    from kafkeep.repository.keyring import wrap_name

    keys = [(about.encryption.metadata_key, "the repository")]
    keys += [(key.id, f"topic {key.topic[0]}") for key in state.keys.topic_keys.values()]
    for key_id, subject in keys:
        for entry in state.keys.recipients:
            recipient = Recipient(entry.public).id
            name = wrap_name(key_id, recipient)
            try:
                if whole:
                    decode_wrap(store.get(name, 0, object_limit(Kind.KEY) + 1), key_id, recipient, name)
                else:
                    store.head(name)
            except ObjectNotFound:
                yield Finding(name, f"it is missing: recipient {entry.name or recipient} cannot open {subject}")
            except CorruptionError as error:
                yield Finding(name, error.message)
    for info in store.list("key/") if whole else ():
        parsed = names.parse_key_name(info.name)
        if parsed is not None and parsed[0] in state.keys.shredded:
            yield Finding(info.name, "it is still there, although its topic was shredded")
