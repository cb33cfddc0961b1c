"""An embedded broker that lets nobody in without TLS and a password, and nobody do what the list of rights lacks."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from agents.stream import clients
from agents.stream.config import KafkaConfig
from deploy.acls import PRINCIPALS, Acl, acls
from deploy.broker import Broker
from deploy.ports import HOST, free_port
from tests.integration.pipeline import Pipeline, wait_until
from tests.security import certificates
from tests.security.certificates import PASSWORD, Certificates

MARKER = "mark3r-0f-s3cr3ts"
MECHANISM = "SCRAM-SHA-512"
_BROKER = "broker"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
}
_ANY = (ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
_EVERY_ACL = AclBindingFilter(*_ANY)


def password_of(principal: str) -> str:
    """Each principal's password; all hold the marker, which must appear nowhere."""
    return f"{MARKER}-{principal}"


@dataclass
class Secured:
    """A running broker. bootstrap: for those with passwords; inner: for those with the broker's own certificate."""

    bootstrap: str
    inner: str
    certificates: Certificates

    def properties(self, principal: str, password: str | None = None) -> dict[str, str]:
        """A principal's librdkafka settings."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": principal,
            "sasl.password": password or password_of(principal),
            "ssl.ca.location": str(self.certificates.authority),
        }

    @property
    def inner_properties(self) -> dict[str, str]:
        """The settings of who may do everything."""
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.certificates.authority),
            "ssl.keystore.location": str(self.certificates.store),
            "ssl.keystore.password": PASSWORD,
        }

    def as_principal(self, principal: str, prefix: str) -> Pipeline:
        """A desk's topics as one principal may use them."""
        made = Pipeline(self.bootstrap, prefix)
        return self._with(made, KafkaConfig(self.bootstrap, prefix, self.properties(principal)))

    def as_owner(self, prefix: str) -> Pipeline:
        """A desk's topics as the broker's owner may use them."""
        return self._with(Pipeline(self.inner, prefix), KafkaConfig(self.inner, prefix, self.inner_properties))

    def prepare(self, prefix: str) -> Pipeline:
        """Create a desk's topics and the rights on them; the owner's view of it."""
        owner = self.as_owner(prefix)
        owner.create_topics()
        self.grant(owner.admin, acls(prefix))
        return owner

    def grant(self, admin: AdminClient, rights: list[Acl]) -> None:
        """Add rights and wait until the broker goes by them, which is after it has stored them."""
        wanted = {_binding(acl) for acl in rights}
        for done in admin.create_acls(list(wanted)).values():
            done.result()
        wait_until(lambda: wanted <= set(admin.describe_acls(_EVERY_ACL).result()), "the rights")

    def revoke(self, admin: AdminClient, rights: list[Acl]) -> None:
        """Take rights away and wait until the broker goes by that."""
        bindings = [_binding(acl) for acl in rights]
        for done in admin.delete_acls([_filter(binding) for binding in bindings]).values():
            done.result()
        wait_until(lambda: not set(bindings) & set(admin.describe_acls(_EVERY_ACL).result()), "the end of the rights")

    def add_users(self) -> None:
        """Passwords for all principals."""
        admin = self.as_owner("").admin
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users = [UserScramCredentialUpsertion(str(p), scram, password_of(p).encode()) for p in PRINCIPALS]
        for done in admin.alter_user_scram_credentials(users).values():
            done.result()

        def known() -> bool:
            return set(PRINCIPALS) <= admin.describe_user_scram_credentials(None).result().keys()

        wait_until(known, "the passwords")

    def _with(self, desk: Pipeline, config: KafkaConfig) -> Pipeline:
        desk.config, desk.admin = config, clients.admin(config)
        return desk


@contextlib.contextmanager
def secured_broker(folder: Path) -> Iterator[Secured]:
    """The broker for a `with` block: TLS on every listener, SCRAM for users, KRaft's authorizer."""
    made = certificates.make(folder / "certificates", _BROKER)
    port, inner, controller = free_port(), free_port(), free_port()
    properties = {
        "listeners": f"USERS://{HOST}:{port},INNER://{HOST}:{inner},CONTROLLER://{HOST}:{controller}",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": "USERS:SASL_SSL,INNER:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "INNER",
        "sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.users.{MECHANISM.lower()}.sasl.jaas.config": f"{_SCRAM} required;",
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(made.store),
        "ssl.keystore.password": PASSWORD,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(made.authority),
        "listener.name.inner.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:CN={_BROKER}",
    }
    with Broker(folder / "broker", port=port, properties=properties):
        running = Secured(f"{HOST}:{port}", f"{HOST}:{inner}", made)
        running.add_users()
        yield running


def _binding(acl: Acl) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL
    operation = _OPERATIONS[acl.operation]
    return AclBinding(_KINDS[acl.kind], acl.name, pattern, acl.principal, "*", operation, AclPermissionType.ALLOW)


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )
