"""Prove to be this instance: a presigned `sts:GetCallerIdentity` that others can send.

Only STS can say who signed it, and the instance profile's session is named after the
instance id. The launch id is among the signed headers, so the proof is good for one
launch only; it expires in a minute. The same construction lets kubectl log in to EKS
(https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html for the signing).
"""

from __future__ import annotations

from typing import Any

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from arcspot.domain.identity import LAUNCH_HEADER, PROOF_SECONDS, sts_endpoint
from gpu_runner.contract import Json

__all__ = ["LAUNCH_HEADER", "PROOF_SECONDS", "proof", "sts_endpoint"]


def proof(launch_id: str, *, credentials: Any, region: str, endpoint: str) -> Json:
    """`{"url", "headers"}`: whoever sends GET url with these headers hears who we are.

    `credentials` are botocore's (access_key, secret_key, token).
    """
    request = AWSRequest(
        method="GET",
        url=f"{endpoint}/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={LAUNCH_HEADER: launch_id},
    )
    SigV4QueryAuth(credentials, "sts", region, expires=PROOF_SECONDS).add_auth(request)
    return {"url": request.url, "headers": {LAUNCH_HEADER: launch_id}}
