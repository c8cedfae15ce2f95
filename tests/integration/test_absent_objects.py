"""What is not there is told from what is denied, by a role that may list its own folders alone.

To a caller without `ListBucket` on the whole bucket S3 answers 403 where there is no object.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from arcspot.aws.bucket import Bucket
from arcspot.errors import ObjectUnreadable, RecordMissing

from .conftest import Cloud

KEY = "results/j/1/result.json"


class Denying:
    """S3 to a role that may not list: 403 for each object, there or not. `list_too`: not even below it."""

    def __init__(self, client: Any, *, list_too: bool = False) -> None:
        self._client, self._list_too = client, list_too

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")

    def head_object(self, **asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject")

    def get_paginator(self, name: str) -> Any:
        if self._list_too:
            return self
        return self._client.get_paginator(name)

    def paginate(self, **asked: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectVersions")
        yield


@pytest.fixture
def s3(cloud: Cloud) -> Any:
    return cloud.client("s3")


def put(s3: Any, key: str) -> str:
    return str(s3.put_object(Bucket="bucket", Key=key, Body=b"x")["VersionId"])


def bucket(s3: Any, **how: bool) -> Bucket:
    return Bucket(Denying(s3, **how), "bucket")  # type: ignore[arg-type]


def test_an_object_that_is_not_there_is_absent(s3: Any) -> None:
    put(s3, KEY + ".other")  # its key goes on after the one that is asked for
    with pytest.raises(RecordMissing, match="does not exist"):
        bucket(s3).read(KEY)
    assert bucket(s3).stored(KEY) is None
    assert bucket(s3).size(KEY) is None


def test_an_object_that_is_there_is_denied(s3: Any) -> None:
    put(s3, KEY)
    with pytest.raises(ObjectUnreadable, match="reading it is denied"):
        bucket(s3).read(KEY)
    for ask in (bucket(s3).stored, bucket(s3).size):
        with pytest.raises(ClientError, match="403"):
            ask(KEY)


def test_a_deleted_object_is_absent_and_its_version_is_not(s3: Any) -> None:
    version = put(s3, KEY)
    s3.delete_object(Bucket="bucket", Key=KEY)
    with pytest.raises(RecordMissing):
        bucket(s3).read(KEY)
    with pytest.raises(ObjectUnreadable):
        bucket(s3).read(KEY, version=version)


def test_a_version_that_went_is_absent_though_the_object_is_there(s3: Any) -> None:
    version = put(s3, KEY)
    put(s3, KEY)
    s3.delete_object(Bucket="bucket", Key=KEY, VersionId=version)
    with pytest.raises(RecordMissing):
        bucket(s3).read(KEY, version=version)
    with pytest.raises(ObjectUnreadable):
        bucket(s3).read(KEY)


def test_who_may_not_even_list_below_the_key_is_denied(s3: Any) -> None:
    with pytest.raises(ObjectUnreadable):
        bucket(s3, list_too=True).read(KEY)
    with pytest.raises(ClientError, match="403"):
        bucket(s3, list_too=True).stored(KEY)
