"""The Price List: what an hour of an instance type costs on demand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from arcspot.domain import documents
from arcspot.domain.budget import usd_to_micros

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient

_PRICE = re.compile(r"\d{1,9}(\.\d{1,20})?", re.ASCII)
# The Price List Query API answers in a few regions only, for all of them.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
PRICE_LIST_REGION = "us-east-1"


class PriceList:
    """`ports.PriceList` for Linux on shared hardware in one region."""

    def __init__(self, client: PricingClient, region: str) -> None:
        self._client = client
        self._region = region

    def on_demand(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for name in instance_types:
            try:
                offers = self._client.get_products(
                    ServiceCode="AmazonEC2", Filters=_filters(name, self._region), MaxResults=10
                )["PriceList"]
            except (ClientError, BotoCoreError):
                return found  # the prices of before stay; tomorrow is another day
            hourly = [price for offer in offers for price in _hourly(offer)]
            if hourly:
                found[name] = max(hourly)
        return found


def _filters(instance_type: str, region: str) -> Any:
    wanted = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }
    return [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]


def _hourly(offer: object) -> Iterable[int]:
    """Micro-dollars an hour of every on-demand term of an offer; what is priced otherwise is left out."""
    try:
        document = documents.parsed(offer) if isinstance(offer, str) else offer
    except documents.Unfit:
        return
    for term in _values(_at(document, "terms", "OnDemand")):
        for dimension in _values(_at(term, "priceDimensions")):
            usd = _at(dimension, "pricePerUnit", "USD")
            if _at(dimension, "unit") == "Hrs" and isinstance(usd, str) and _PRICE.fullmatch(usd):
                yield usd_to_micros(usd)


def _at(value: object, *path: str) -> object:
    """What lies at this path of objects; None where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _values(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else ()
