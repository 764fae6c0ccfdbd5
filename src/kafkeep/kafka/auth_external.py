"""Logins that need an extra: Kerberos (`kafkeep[gssapi]`) and AWS IAM for MSK (`kafkeep[msk-iam]`)."""

from __future__ import annotations

import importlib
import json
import urllib.parse
from types import ModuleType
from typing import Any, Final

from kafkeep.errors import KafkaLoginError, MissingDependency
from kafkeep.kafka.auth import SaslMechanism
from kafkeep.kafka.config import SaslConfig

_NO_SECURITY_LAYER: Final = 1
"""RFC 4752: authentication only, which is all that Kafka offers."""
_MSK_VERSION: Final = "2020_10_22"
_MSK_ACTION: Final = "kafka-cluster:Connect"
_MSK_SERVICE: Final = "kafka-cluster"
_MSK_EXPIRES_SECONDS: Final = 900


def _extra(module: str, *, extra: str, mechanism: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        package = module.partition(".")[0]
        raise MissingDependency(
            f"sasl mechanism {mechanism} needs the python package {package}",
            hint=f"Install it with `pip install 'kafkeep[{extra}]'`.",
        ) from error


class GssapiMechanism(SaslMechanism):
    """Kerberos with the ticket of the environment (`kinit`, or a keytab named by KRB5_CLIENT_KTNAME): RFC 4752."""

    def __init__(self, config: SaslConfig, host: str) -> None:
        super().__init__(config)
        self._gssapi: Any = _extra("gssapi", extra="gssapi", mechanism="GSSAPI")
        self._service = f"{config.service_name}@{host}"
        self._agreed = False
        try:
            name = self._gssapi.Name(self._service, name_type=self._gssapi.NameType.hostbased_service)
            self._context: Any = self._gssapi.SecurityContext(name=name, usage="initiate")
            self._next: bytes = self._context.step() or b""
        except self._gssapi.exceptions.GSSError as error:
            raise self._failed(error) from error

    @property
    def identity(self) -> str:
        return f"the Kerberos ticket for {self._service}"

    def auth_bytes(self) -> bytes:
        if self._agreed:
            self._done = True
        return self._next

    def receive(self, auth_bytes: bytes) -> None:
        if self._agreed:
            return  # Kafka's empty answer to the last message
        try:
            if not self._context.complete:
                self._next = self._context.step(auth_bytes) or b""
                return
            offer = self._context.unwrap(auth_bytes).message
            if len(offer) != 4 or not offer[0] & _NO_SECURITY_LAYER:
                raise KafkaLoginError(f"login with GSSAPI failed: {self._service} offers no plain security layer")
            # No security layer, no buffer, and no other identity than the ticket's own.
            self._next = self._context.wrap(bytes((_NO_SECURITY_LAYER, 0, 0, 0)), False).message
            self._agreed = True
        except self._gssapi.exceptions.GSSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> KafkaLoginError:
        return KafkaLoginError(
            f"login with GSSAPI to {self._service} failed: {self.redact(str(error))}",
            hint="Check with `klist` that there is a ticket, and that service_name/host is the broker's principal.",
        )


class MskIamMechanism(SaslMechanism):
    """A request to connect, signed with the AWS credentials botocore finds (aws-msk-iam-auth's format)."""

    def __init__(self, config: SaslConfig, host: str) -> None:
        super().__init__(config)
        self._session: Any = _extra("botocore.session", extra="msk-iam", mechanism="AWS_MSK_IAM").get_session()
        self._auth: Any = _extra("botocore.auth", extra="msk-iam", mechanism="AWS_MSK_IAM")
        self._request: Any = _extra("botocore.awsrequest", extra="msk-iam", mechanism="AWS_MSK_IAM")
        self._errors: Any = _extra("botocore.exceptions", extra="msk-iam", mechanism="AWS_MSK_IAM")
        self._host = host

    @property
    def identity(self) -> str:
        return "the AWS credentials"

    def auth_bytes(self) -> bytes:
        try:
            credentials = self._session.get_credentials()
            region = self.config.region or self._session.get_config_variable("region")
        except self._errors.BotoCoreError as error:
            raise KafkaLoginError(f"AWS credentials cannot be had: {self.redact(str(error))}") from error
        if credentials is None:
            raise KafkaLoginError(
                "no AWS credentials were found", hint="Check them with `aws sts get-caller-identity`."
            )
        if not region:
            raise KafkaLoginError("the AWS region is not known", hint="Set region in the cluster's sasl settings.")
        url = f"https://{self._host}/?Action={urllib.parse.quote(_MSK_ACTION, safe='')}"
        request = self._request.AWSRequest(method="GET", url=url)
        signer = self._auth.SigV4QueryAuth(
            credentials.get_frozen_credentials(), _MSK_SERVICE, region, expires=_MSK_EXPIRES_SECONDS
        )
        signer.add_auth(request)
        signed = urllib.parse.parse_qsl(urllib.parse.urlsplit(request.url).query)
        fields = {name.lower(): value for name, value in signed}
        fields |= {"version": _MSK_VERSION, "host": self._host, "user-agent": "kafkeep", "action": _MSK_ACTION}
        return json.dumps(fields, separators=(",", ":")).encode()

    def receive(self, auth_bytes: bytes) -> None:
        if not auth_bytes:
            raise KafkaLoginError("the broker's answer to AWS_MSK_IAM is empty")
        self._done = True
