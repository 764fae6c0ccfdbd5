"""Requests about a cluster's settings and permissions, beside those of `kafkeep.kafka.apis`."""

from __future__ import annotations

from typing import Final

from kafkeep.kafka.apis import OWN, Api

DESCRIBE_ACLS: Final = Api("admin.acl", "DescribeAcls")
CREATE_ACLS: Final = Api("admin.acl", "CreateAcls")
DELETE_ACLS: Final = Api("admin.acl", "DeleteAcls")
DESCRIBE_QUOTAS: Final = Api("admin.client_quotas", "DescribeClientQuotas")
ALTER_QUOTAS: Final = Api("admin.client_quotas", "AlterClientQuotas")
DESCRIBE_SCRAM: Final = Api("admin.users", "DescribeUserScramCredentials")
ALTER_SCRAM: Final = Api("admin.users", "AlterUserScramCredentials")
DESCRIBE_LOG_DIRS: Final = Api("admin.cluster", "DescribeLogDirs")
DESCRIBE_QUORUM: Final = Api("admin.cluster", "DescribeQuorum")
DESCRIBE_TOKENS: Final = Api(OWN, "DescribeDelegationToken")
LIST_REASSIGNMENTS: Final = Api("admin.topics", "ListPartitionReassignments")
# Version 0 of this request lists client metrics resources alone, under another name (KIP-714, KIP-1142).
LIST_CONFIG_RESOURCES: Final = Api("admin.configs", "ListConfigResources")
# Finalized features come with version 3 on (KIP-584).
API_VERSIONS: Final = Api("metadata.api_versions", "ApiVersions", lowest=3)
# Before version 1 there is no word for an update that only raises.
UPDATE_FEATURES: Final = Api("admin.cluster", "UpdateFeatures", lowest=1)
DESCRIBE_SHARE_GROUPS: Final = Api(OWN, "ShareGroupDescribe")
DESCRIBE_STREAMS_GROUPS: Final = Api(OWN, "StreamsGroupDescribe")
