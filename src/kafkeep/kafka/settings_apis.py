"""Requests about a cluster's settings and permissions, beside those of `kafkeep.kafka.control`."""

from __future__ import annotations

from typing import Final

from kafka.protocol.admin import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)
from kafka.protocol.api_message import ApiMessage
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

from kafkeep.kafka.control import Api


class DescribeDelegationTokenRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-48; absent from kafka-python 3.0."""


class DescribeDelegationTokenResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-48; absent from kafka-python 3.0."""


class ShareGroupDescribeRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class ShareGroupDescribeResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-932; absent from kafka-python 3.0."""


class StreamsGroupDescribeRequest(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-1071; absent from kafka-python 3.0."""


class StreamsGroupDescribeResponse(ApiMessage, load_json="kafkeep.kafka.messages"):  # type: ignore[call-arg, misc]
    """KIP-1071; absent from kafka-python 3.0."""


DESCRIBE_ACLS: Final = Api(DescribeAclsRequest, DescribeAclsResponse)
CREATE_ACLS: Final = Api(CreateAclsRequest, CreateAclsResponse)
DELETE_ACLS: Final = Api(DeleteAclsRequest, DeleteAclsResponse)
DESCRIBE_QUOTAS: Final = Api(DescribeClientQuotasRequest, DescribeClientQuotasResponse)
ALTER_QUOTAS: Final = Api(AlterClientQuotasRequest, AlterClientQuotasResponse)
DESCRIBE_SCRAM: Final = Api(DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse)
ALTER_SCRAM: Final = Api(AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse)
DESCRIBE_LOG_DIRS: Final = Api(DescribeLogDirsRequest, DescribeLogDirsResponse)
DESCRIBE_QUORUM: Final = Api(DescribeQuorumRequest, DescribeQuorumResponse)
DESCRIBE_TOKENS: Final = Api(DescribeDelegationTokenRequest, DescribeDelegationTokenResponse)
LIST_REASSIGNMENTS: Final = Api(ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse)
# Version 0 of this request lists client metrics resources alone, under another name (KIP-714, KIP-1142).
LIST_CONFIG_RESOURCES: Final = Api(ListConfigResourcesRequest, ListConfigResourcesResponse)
# Finalized features come with version 3 on (KIP-584).
API_VERSIONS: Final = Api(ApiVersionsRequest, ApiVersionsResponse, lowest=3)
# Before version 1 there is no word for an update that only raises.
UPDATE_FEATURES: Final = Api(UpdateFeaturesRequest, UpdateFeaturesResponse, lowest=1)
DESCRIBE_SHARE_GROUPS: Final = Api(ShareGroupDescribeRequest, ShareGroupDescribeResponse)
DESCRIBE_STREAMS_GROUPS: Final = Api(StreamsGroupDescribeRequest, StreamsGroupDescribeResponse)
