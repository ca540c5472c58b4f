"""Options of the object-store client: those of its HTTP client, and those that are no secrets."""

import re
from collections.abc import Iterator, Mapping

CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
    "user_agent",
)
"""Options of the HTTP client, which all object stores share.

The library takes them separately, and panics if it finds one among the options of the store.
"""
PUBLIC_OPTIONS = frozenset(
    {
        *CLIENT_OPTIONS,
        # S3
        "access_key_id",
        "bucket",
        "bucket_name",
        "checksum_algorithm",
        "conditional_put",
        "container_authorization_token_file",
        "container_credentials_full_uri",
        "container_credentials_relative_uri",
        "copy_if_not_exists",
        "default_region",
        "disable_bulk_delete",
        "disable_tagging",
        "endpoint",
        "endpoint_url",
        "endpoint_url_s3",
        "endpoint_url_sts",
        "imdsv1_fallback",
        "metadata_endpoint",
        "region",
        "request_payer",
        "role_arn",
        "role_session_name",
        "s3_express",
        "server_side_encryption",
        "skip_signature",
        "sse_bucket_key_enabled",
        "sse_kms_key_id",
        "sts_endpoint",
        "unsigned_payload",
        "virtual_hosted_style_request",
        "web_identity_token_file",
        # Google Cloud Storage; these name files
        "application_credentials",
        "service_account",
        "service_account_path",
        "base_url",
        # Azure
        "account_name",
        "authority_host",
        "authority_id",
        "client_id",
        "container_name",
        "credential_type",
        "fabric_cluster_identifier",
        "fabric_token_service_url",
        "fabric_workload_host",
        "federated_token_file",
        "identity_endpoint",
        "msi_endpoint",
        "msi_resource_id",
        "object_id",
        "tenant_id",
        "use_azure_cli",
        "use_emulator",
        "use_fabric_endpoint",
    }
)
"""Options that are no credentials, without the prefix of their service. Every other one may be."""

_PREFIX = re.compile("^(aws|azure_storage|azure|google)_")


def credentials_of(options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the options that may be credentials, or contain some, with what is secret in each.

    A URL can contain a user and a password.
    """
    for name, value in options.items():
        # The library ignores the case of names.
        if _PREFIX.sub("", name.lower()) not in PUBLIC_OPTIONS:
            yield name, value
        elif "@" in value:
            before = value.rpartition("@")[0]
            user = before.partition("//")[2] or before
            yield name, user
            yield name, user.partition(":")[2]
