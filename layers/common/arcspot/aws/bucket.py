"""The bucket in S3."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from arcspot.errors import KeyRefused, ObjectUnreadable, RecordMissing
from arcspot.ports import Fetched, Listed, Part, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
R = TypeVar("R")
# As many connections the client's pool holds (compose.py).
AT_ONCE = 32
MAX_KEY_BYTES = 1024
# 405: the version is a delete marker.
_MISSING = ("NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed")
_DENIED = ("AccessDenied", "403")
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_UNREADABLE = {
    "InvalidObjectState": "it is archived; restore it or drop the file again",
    "AccessDenied": "reading it is denied; look at its encryption key and the bucket's policy",
    "AllAccessDisabled": "all access to it is disabled",
    "403": "reading it is denied; look at its encryption key and the bucket's policy",
}


# A part of a multipart upload has at least 5 MiB, unless it is the last.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PIECE_BYTES = 8 * 1024 * 1024


class Bucket:
    """`ports.Objects` over one bucket."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client = client
        self._name = name

    def read(self, key: str, *, version: str | None = None, last: int | None = None) -> bytes:
        """The object's bytes, or at most its `last` ones. Raises RecordMissing, ObjectUnreadable."""
        return self._fetch(key, version, _end(last)).body

    def _fetch(self, key: str, version: str | None, wanted: str = "") -> Fetched:
        """An object, or the range of its bytes that is `wanted`.

        https://www.rfc-editor.org/rfc/rfc9110#name-range
        """
        extra: dict[str, Any] = {"VersionId": version} if version else {}
        if wanted:
            extra["Range"] = f"bytes={wanted}"
        try:
            found = self._client.get_object(Bucket=self._name, Key=key, **extra)
            body = found["Body"].read()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if self._absent(code, key, version):
                raise RecordMissing(f"s3://{self._name}/{key} does not exist") from error
            if wanted and code == "InvalidRange":
                return Fetched(b"", version or "")  # an empty object has no last byte, a short one not these
            if code in _UNREADABLE or code.startswith("KMS."):
                words = _UNREADABLE.get(code, "its encryption key cannot be used")
                raise ObjectUnreadable(f"s3://{self._name}/{key}: {words} ({code})") from error
            raise
        return Fetched(body=body, version=_version(found), etag=str(found.get("ETag", "")).strip('"'))

    def _absent(self, code: str, key: str, version: str | None = None) -> bool:
        """Whether S3's refusal means that there is no such object, or no such version of it.

        To a role that may not list the whole bucket S3 says 403 of what is not there. So a denial is held
        against the list below the key itself, which a role may see. If that is denied too, it is a denial.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        if code not in _DENIED:
            return code in _MISSING
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._name, Prefix=key)
        try:
            # In the order of keys: those that go on after this one come behind it.
            for page in pages:
                shown = page.get("Versions", [])
                own = [item for item in shown if item["Key"] == key]
                if any(item["VersionId"] == version if version else item["IsLatest"] for item in own):
                    return False
                if len(own) < len(shown):
                    break
        except ClientError:
            return False
        return True

    def fetch_many(
        self, wanted: Sequence[tuple[str, str | None]], *, last: int | None = None
    ) -> list[Fetched | Exception]:
        def one(asked: tuple[str, str | None]) -> Fetched | Exception:
            try:
                return self._fetch(*asked, _end(last))
            except Exception as error:  # each object fails alone
                return error

        return _at_once(one, wanted)

    def parts(self, wanted: Sequence[Part]) -> list[Fetched | Exception]:
        def one(part: Part) -> Fetched | Exception:
            try:
                return self._fetch(part.key, part.version, f"{part.begin}-{part.end - 1}")
            except Exception as error:  # each object fails alone
                return error

        return _at_once(one, wanted)

    def listing(self, prefix: str, after: str = "") -> Iterable[Listed]:
        extra: dict[str, Any] = {"StartAfter": after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._name, Prefix=prefix, **extra
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield Listed(
                    key=item["Key"],
                    size=item["Size"],
                    modified_at=item["LastModified"],
                    etag=item.get("ETag", "").strip('"'),
                )

    def read_many(self, wanted: Sequence[tuple[str, str | None]]) -> Mapping[tuple[str, str | None], bytes]:
        """One by one 10,000 small objects take longer than a function may run."""

        def one(asked: tuple[str, str | None]) -> bytes | None:
            try:
                return self.read(asked[0], version=asked[1])
            except RecordMissing:
                return None

        distinct = list(dict.fromkeys(wanted))
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            found = zip(distinct, pool.map(one, distinct), strict=True)
            return {asked: body for asked, body in found if body is not None}

    def write(self, key: str, body: bytes, *, content_type: str) -> None:
        _refuse(key)
        self._client.put_object(Bucket=self._name, Key=key, Body=body, ContentType=content_type)

    def write_parts(self, key: str, parts: Iterable[bytes], *, content_type: str) -> None:
        """A small object is one PUT; a large one is a multipart upload, which ends whole or not at all."""
        _refuse(key)
        pieces = _pieces(parts)
        first, second = next(pieces, b""), next(pieces, None)
        if second is None:
            self.write(key, first, content_type=content_type)
            return
        place: Any = {"Bucket": self._name, "Key": key}
        upload = {
            **place,
            "UploadId": self._client.create_multipart_upload(**place, ContentType=content_type)["UploadId"],
        }
        try:
            sent: list[Any] = []
            for number, body in enumerate(chain((first, second), pieces), start=1):
                etag = self._client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
                sent.append({"PartNumber": number, "ETag": etag})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": sent})
        except Exception:
            with suppress(Exception):  # the bucket's lifecycle rule finds what is left of it
                self._client.abort_multipart_upload(**upload)
            raise

    def delete(self, key: str) -> None:
        _refuse(key)
        self._client.delete_object(Bucket=self._name, Key=key)

    def keys(self, prefix: str) -> Iterable[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix):
            for item in page.get("Contents", []):
                yield item["Key"]

    def size(self, key: str) -> int | None:
        """Bytes of the object's newest version, or None when there is none."""
        try:
            return self._client.head_object(Bucket=self._name, Key=key)["ContentLength"]
        except ClientError as error:
            if self._absent(error.response["Error"]["Code"], key):
                return None
            raise

    def stored(self, key: str) -> Stored | None:
        """Size and checksum of the object's newest version.

        S3 keeps the checksum that a PUT was signed with.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        try:
            head = self._client.head_object(Bucket=self._name, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if self._absent(error.response["Error"]["Code"], key):
                return None
            raise
        return Stored(head["ContentLength"], _checksum(head.get("ChecksumSHA256", "")), _version(head))

    def presign_get(self, key: str, *, version: str | None, seconds: int) -> str:
        params: dict[str, Any] = {"Bucket": self._name, "Key": key}
        if version:
            params["VersionId"] = version
        return self._client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

    def presign_put(
        self, key: str, *, sha256_hex: str, size: int, seconds: int, once: bool = False
    ) -> tuple[str, Mapping[str, str]]:
        """A URL that takes exactly the bytes with this checksum; S3 itself refuses any others.

        `once`: it refuses these too (412) where an object is there already. The condition is signed, so
        that nobody who has the URL can leave it out.
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        """
        _refuse(key)
        checksum = base64.b64encode(bytes.fromhex(sha256_hex)).decode()
        params: dict[str, Any] = {
            "Bucket": self._name,
            "Key": key,
            "ChecksumSHA256": checksum,
            "ContentLength": size,
        }
        headers = {"x-amz-checksum-sha256": checksum, "content-length": str(size)}
        if once:
            params["IfNoneMatch"] = headers["if-none-match"] = "*"
        return self._client.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds), headers


def _at_once(act: Callable[[T], R], wanted: Sequence[T]) -> list[R]:
    """Several at once and in their order; one alone needs no thread."""
    if len(wanted) < 2:
        return [act(each) for each in wanted]
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(wanted))) as pool:
        return list(pool.map(act, wanted))


def _version(answer: Mapping[str, Any]) -> str:
    """The version that an answer is about, "" for an object without."""
    told = str(answer.get("VersionId", ""))
    return "" if told == "null" else told


def _end(last: int | None) -> str:
    return "" if last is None else f"-{last}"


def _checksum(told: str) -> str:
    """S3's checksum as hex; "" of an object in parts, which has one of its parts' checksums (`…-3`).

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    """
    try:
        return base64.b64decode(told, validate=True).hex()
    except ValueError:
        return ""


def _refuse(key: str) -> None:
    """Raise KeyRefused for what S3 refuses, or what an SDK or a proxy would make another key of.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
    """
    try:
        fits = 1 <= len(key.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        fits = False
    if not fits or {".", ".."} & set(key.split("/")):
        raise KeyRefused(
            f"S3 keeps nothing under {key!r:.100}: expected 1 to 1,024 bytes, no `.` or `..` part"
        )


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces large enough for a multipart upload."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
