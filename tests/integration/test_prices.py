"""What an hour costs, read from AWS's own documents: the Price List and the spot price history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from arcspot.aws.compute import Ec2
from arcspot.aws.prices import PriceList

from .conftest import session

SINCE = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=2)


def offer(instance_type: str = "g4dn.xlarge", usd: str = "0.5260000000", unit: str = "Hrs") -> str:
    """One entry of GetProducts' PriceList, as AWS writes it: a JSON document in a string."""
    sku = "2WVPDNJ3CM3KYKY6"
    on_demand = f"{sku}.JRTCKXETXF"
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "sku": sku,
                "attributes": {
                    "instanceType": instance_type,
                    "regionCode": "eu-west-1",
                    "operatingSystem": "Linux",
                    "preInstalledSw": "NA",
                    "tenancy": "Shared",
                    "capacitystatus": "Used",
                    "usagetype": f"EU-BoxUsage:{instance_type}",
                    "vcpu": "4",
                },
            },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {
                    on_demand: {
                        "offerTermCode": "JRTCKXETXF",
                        "sku": sku,
                        "effectiveDate": "2026-11-01T00:00:00Z",
                        "termAttributes": {},
                        "priceDimensions": {
                            f"{on_demand}.6YS6EN2CT7": {
                                "unit": unit,
                                "beginRange": "0",
                                "endRange": "Inf",
                                "description": f"${usd} per On Demand Linux {instance_type} Instance Hour",
                                "appliesTo": [],
                                "rateCode": f"{on_demand}.6YS6EN2CT7",
                                "pricePerUnit": {"USD": usd},
                            }
                        },
                    }
                },
                "Reserved": {
                    f"{sku}.4NA7Y494T4": {
                        "termAttributes": {"LeaseContractLength": "1yr", "PurchaseOption": "No Upfront"},
                        "priceDimensions": {"x": {"unit": "Hrs", "pricePerUnit": {"USD": "0.3310000000"}}},
                    }
                },
            },
            "version": "20261120202020",
            "publicationDate": "2026-11-20T20:20:20Z",
        }
    )


@pytest.fixture
def pricing() -> Iterator[tuple[PriceList, Stubber]]:
    client = session().client("pricing", region_name="us-east-1")
    with Stubber(client) as stub:
        yield PriceList(client, "eu-west-1"), stub
        stub.assert_no_pending_responses()


def answer(*offers: str) -> dict[str, Any]:
    return {"FormatVersion": "aws_v1", "PriceList": list(offers)}


def test_a_type_is_asked_for_as_linux_on_shared_hardware_in_the_stacks_region(pricing: Any) -> None:
    prices, stub = pricing
    asked = {
        "instanceType": "g4dn.xlarge", "regionCode": "eu-west-1", "operatingSystem": "Linux",
        "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used",
    }  # fmt: skip
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in asked.items()]
    expected = {"ServiceCode": "AmazonEC2", "Filters": filters, "MaxResults": 10}
    stub.add_response("get_products", answer(offer()), expected)
    assert prices.on_demand(["g4dn.xlarge"]) == {"g4dn.xlarge": 526_000}


def test_the_dearest_of_several_offers_is_the_price_and_a_reservation_is_none(pricing: Any) -> None:
    prices, stub = pricing
    stub.add_response("get_products", answer(offer(usd="0.5260000000"), offer(usd="0.5870000000")))
    stub.add_response("get_products", answer(offer("g4dn.2xlarge", usd="0.8381234567")))
    found = prices.on_demand(["g4dn.xlarge", "g4dn.2xlarge"])
    assert found["g4dn.xlarge"] == 587_000
    assert found["g4dn.2xlarge"] in (838_123, 838_124)


@pytest.mark.parametrize(
    "offers",
    [
        (),
        (offer(unit="Quantity"),),
        (json.dumps({"terms": {}}),),
        (json.dumps({"terms": {"OnDemand": {"x": {"priceDimensions": {"y": {"unit": "Hrs"}}}}}}),),
        (json.dumps([]),),
    ],
    ids=["no offer", "not by the hour", "no terms", "no price", "no document"],
)
def test_a_type_that_nobody_prices_by_the_hour_is_left_out(pricing: Any, offers: tuple[str, ...]) -> None:
    prices, stub = pricing
    stub.add_response("get_products", answer(*offers))
    assert prices.on_demand(["g4dn.xlarge"]) == {}


def test_a_price_list_that_does_not_answer_tells_no_price(pricing: Any) -> None:
    prices, stub = pricing
    stub.add_client_error("get_products", "AccessDeniedException")
    assert prices.on_demand(["g4dn.xlarge", "g4dn.2xlarge"]) == {}

    class Unreachable:
        def get_products(self, **_: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="https://api.pricing.us-east-1.amazonaws.com")

    client: Any = Unreachable()
    assert PriceList(client, "eu-west-1").on_demand(["g4dn.xlarge"]) == {}


def test_what_was_told_before_the_answers_stopped_is_kept(pricing: Any) -> None:
    prices, stub = pricing
    stub.add_response("get_products", answer(offer()))
    stub.add_client_error("get_products", "ThrottlingException")
    assert prices.on_demand(["g4dn.xlarge", "g4dn.2xlarge", "g5.xlarge"]) == {"g4dn.xlarge": 526_000}


def spot(*told: tuple[str, datetime]) -> dict[str, Any]:
    common = {
        "InstanceType": "g4dn.xlarge",
        "ProductDescription": "Linux/UNIX",
        "AvailabilityZone": "eu-west-1a",
    }
    return {"SpotPriceHistory": [{**common, "SpotPrice": usd, "Timestamp": at} for usd, at in told]}


def spot_price(history: dict[str, Any]) -> int | None:
    client = session().client("ec2")
    with Stubber(client) as stub:
        expected = {
            "InstanceTypes": ["g4dn.xlarge"],
            "AvailabilityZone": "eu-west-1a",
            "ProductDescriptions": ["Linux/UNIX"],
            "StartTime": SINCE,
            "EndTime": UNTIL,
        }
        stub.add_response("describe_spot_price_history", history, expected)
        ec2 = Ec2(client, stack="s", template_id="lt-1", subnet_ids=())
        return ec2.spot_price("g4dn.xlarge", "eu-west-1a", since=SINCE, until=UNTIL)


def test_the_highest_spot_price_of_a_life_is_its_price() -> None:
    """The one in force when it began was set before that."""
    life = (
        ("0.171200", UNTIL - timedelta(minutes=5)),
        ("0.203400", SINCE + timedelta(minutes=40)),
        ("0.157800", SINCE - timedelta(hours=3)),
    )
    assert spot_price(spot(*life)) == 203_400
    assert spot_price(spot(("0.260000", SINCE - timedelta(hours=9)), ("0.1", UNTIL))) == 260_000


def test_a_history_without_a_price_tells_none() -> None:
    assert spot_price(spot()) is None
