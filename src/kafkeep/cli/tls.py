"""From a `tls` table of the settings to what a connection is made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafkeep.cli.common import Run
from kafkeep.cli.secrets import check_private_file, read_secret
from kafkeep.errors import SettingsError
from kafkeep.events import Warned
from kafkeep.secret import Secret
from kafkeep.tls import TlsConfig

if TYPE_CHECKING:
    from kafkeep.settings import SecretSource, TlsSettings


def tls_config(run: Run, key: str, tls: TlsSettings, peer: str) -> TlsConfig:
    """`peer`: who is at the other end, for people. Raises `SettingsError` for a check that is switched off without the
    word of the environment, and for a private file that others may read.
    """
    from kafkeep.settings import ALLOW_INSECURE

    if not tls.verify:
        if run.env.get(ALLOW_INSECURE) != "1":
            raise SettingsError(
                f"{key}.verify is false, but {ALLOW_INSECURE}=1 is not in the environment",
                hint=f"Give ca_file instead; unverified, anybody on the way to the {peer} can read and change all.",
            )
        run.output.event(Warned(f"{key}.verify is false: any {peer} is trusted", "Give ca_file and leave verify on."))
    elif not tls.check_hostname:
        warning = f"{key}.check_hostname is false: a certificate of another host is accepted"
        run.output.event(Warned(warning, "Leave it on."))
    holder = "key_file" if tls.key_file is not None else "cert_file"
    private = tls.key_file if tls.key_file is not None else tls.cert_file
    if private is not None:
        check_private_file(private, f"{key}.{holder}")
    return TlsConfig(
        ca_file=tls.ca_file,
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        key_password=fetched_secret(run, f"{key}.key_password", tls.key_password),
        check_hostname=tls.check_hostname and tls.verify,
        verify=tls.verify,
    )


def fetched_secret(run: Run, key: str, source: SecretSource | None) -> Secret | None:
    """The secret, known to the redactor from now on; None without a source."""
    return None if source is None else run.redact.add(read_secret(source, key, run.env))
