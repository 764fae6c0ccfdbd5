"""What TLS connections are made with."""

from __future__ import annotations

import ssl

from kafkeep.errors import SettingsError
from kafkeep.tls import TlsConfig


def ssl_context(tls: TlsConfig) -> ssl.SSLContext:
    """A client context for the settings, TLS 1.2 or newer.

    Raises:
        SettingsError: naming the file that cannot be read or does not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = tls.check_hostname and tls.verify
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile=tls.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"tls ca_file {tls.ca_file} cannot be used: {error.strerror or error}") from error
    if tls.cert_file is not None:
        password = "" if tls.key_password is None else tls.key_password.reveal()
        try:
            # A password function is given in any case: without one OpenSSL asks on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: password)
        except (OSError, ssl.SSLError) as error:
            named = tls.cert_file if tls.key_file is None else f"{tls.cert_file} with key_file {tls.key_file}"
            raise SettingsError(
                f"tls cert_file {named} cannot be used: {error.strerror or error}",
                hint="Check that both files exist, belong together, and that key_password is right if the key has one.",
            ) from error
    return context
