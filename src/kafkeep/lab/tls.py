"""Certificates of a lab: one authority, a server's and a client's leaf, all good for a month."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kafkeep.errors import MissingDependency
from kafkeep.records import dataclass

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CLIENT_PRINCIPAL = "User:CN=lab-client"
_LIFETIME = timedelta(days=30)
_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files in one folder; `stranger_*` come from an authority the brokers do not know."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        """Key and certificate in one file, as Kafka's PEM key store wants it (KIP-651)."""
        return self.folder / "server.pem"

    @property
    def client_cert(self) -> Path:
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        return self.folder / "client.key"

    @property
    def client_store(self) -> Path:
        """Key and certificate of the client in one file."""
        return self.folder / "client-store.pem"

    @property
    def stranger_ca(self) -> Path:
        return self.folder / "stranger-ca.pem"

    @property
    def stranger_cert(self) -> Path:
        return self.folder / "stranger.pem"

    @property
    def stranger_key(self) -> Path:
        return self.folder / "stranger.key"


def make(folder: Path, *, now: datetime) -> TlsFiles:
    """Makes the authority and all leaves in `folder`, keys readable by the owner alone."""
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise MissingDependency("a lab with TLS needs the package cryptography") from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = TlsFiles(folder)
    authority = _Authority("kafkeep lab authority", now)
    files.ca.write_bytes(authority.pem)
    cert, key = authority.leaf("localhost")
    _write_private(files.server, key + cert)
    cert, key = authority.leaf("lab-client")
    files.client_cert.write_bytes(cert)
    _write_private(files.client_key, key)
    _write_private(files.client_store, key + cert)
    stranger = _Authority("kafkeep lab stranger", now)
    files.stranger_ca.write_bytes(stranger.pem)
    cert, key = stranger.leaf("lab-client")
    files.stranger_cert.write_bytes(cert)
    _write_private(files.stranger_key, key)
    return files


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


class _Authority:
    def __init__(self, name: str, now: datetime) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        self._cert = self._sign(self._name, self._key, [(constraints, True)])
        self.pem = _pem(self._cert)

    def leaf(self, name: str) -> tuple[bytes, bytes]:
        """(certificate, key) as PEM, for localhost and the loopback addresses, good for servers and clients."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
        plain = x509.BasicConstraints(ca=False, path_length=None)
        cert = self._sign(_name(name), key, [(plain, True), (names, False), (usage, False)])
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(cert), text

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
    ) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + _LIFETIME)
        )
        # OpenSSL 3 and Python's strict default refuse chains without key identifiers (RFC 5280 4.2.1.1).
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension, critical in [*extensions, (own, False), (issuer, False)]:
            builder = builder.add_extension(extension, critical)
        if key is self._key:
            builder = builder.add_extension(_signing_usage(), critical=True)
        return builder.sign(self._key, hashes.SHA256())


def _signing_usage() -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(cert: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return cert.public_bytes(serialization.Encoding.PEM)
