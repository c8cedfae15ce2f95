"""What the control plane costs: AWS's list prices, and a bill of units counted elsewhere.

us-east-1, on demand, without any free tier. Each line says where its price stands. The pricing pages were
read in 2026-11; those marked `told` load their figures by a script, so that their price was read at second
hand (AWS's announcements and others' pages) and not on the page itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MILLION = 1_000_000
GB = 2**30


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars a unit, and where that is said."""

    usd_micros: float
    source: str
    told: bool = False


def _aws(page: str) -> str:
    return f"https://aws.amazon.com/{page}/"


LAMBDA, S3, CLOUDWATCH = _aws("lambda/pricing"), _aws("s3/pricing"), _aws("cloudwatch/pricing")
DYNAMODB = _aws("dynamodb/pricing/on-demand")

PRICES: Mapping[str, Price] = {
    "Lambda requests": Price(0.20, LAMBDA),
    "Lambda GB-seconds, x86": Price(16.6667, LAMBDA),
    "Lambda GB-seconds, arm64": Price(13.3334, LAMBDA),
    "DynamoDB write units": Price(0.625, DYNAMODB, told=True),
    "DynamoDB read units": Price(0.125, DYNAMODB, told=True),
    "S3 PUT and LIST requests": Price(5.0, S3, told=True),
    "S3 GET and HEAD requests": Price(0.4, S3, told=True),
    # A request that is not charged at all; the line says that it was counted.
    "S3 DELETE requests": Price(0.0, S3, told=True),
    "S3 events through EventBridge": Price(1.0, _aws("eventbridge/pricing"), told=True),
    "EventBridge Scheduler invocations": Price(1.0, _aws("eventbridge/pricing"), told=True),
    "SQS requests": Price(0.40, _aws("sqs/pricing"), told=True),
    "Step Functions transitions": Price(25.0, _aws("step-functions/pricing")),
    "SNS mails": Price(20.0, _aws("sns/pricing"), told=True),
    "CloudWatch logs taken in, bytes": Price(0.5 * MILLION / GB, CLOUDWATCH),
    "CloudWatch custom metrics, months": Price(0.30 * MILLION, CLOUDWATCH),
    "CloudWatch alarms, months": Price(0.10 * MILLION, CLOUDWATCH),
    "KMS requests": Price(3.0, _aws("kms/pricing"), told=True),
    "S3 kept, byte-months": Price(0.023 * MILLION / GB, S3, told=True),
    "DynamoDB kept, byte-months": Price(0.25 * MILLION / GB, DYNAMODB, told=True),
    "DynamoDB recovery to any moment, byte-months": Price(0.20 * MILLION / GB, DYNAMODB, told=True),
    "CloudWatch logs kept, byte-months": Price(0.03 * MILLION / GB, CLOUDWATCH),
}

LEFT_OUT = (
    "instances, their disks and public addresses: the ledger's",
    "adapted weights kept in S3: 2 KB to 9 MB a task, up to 0.2 USD a month for 1,000 tasks",
    "what people ask for themselves: results get, status, Logs Insights, the console",
    "data that leaves the region, mostly results that are downloaded (100 GB a month are free)",
    "the bucket that sam deploy keeps its packages in (some MB), and AWS Budgets (free without its reports)",
    "cold starts beyond one for each function and pause, and retries of AWS calls",
    "taxes, and every free tier: with it an idle stack and the first tasks of a month cost less",
)


@dataclass(frozen=True, slots=True)
class Bill:
    """Units by line of the tariff. Raises KeyError for a line that has no price."""

    units: Mapping[str, float]

    @property
    def usd_micros(self) -> dict[str, float]:
        found = {name: units * PRICES[name].usd_micros for name, units in self.units.items()}
        return dict(sorted(found.items(), key=lambda line: -line[1]))

    @property
    def total_usd(self) -> float:
        return sum(self.usd_micros.values()) / MILLION

    def without(self, other: Bill) -> Bill:
        """What this bill has beyond another: the work beyond what stands anyway."""
        names = [*self.units, *(name for name in other.units if name not in self.units)]
        return Bill({name: self.units.get(name, 0) - other.units.get(name, 0) for name in names})

    def times(self, factor: float) -> Bill:
        return Bill({name: units * factor for name, units in self.units.items()})


def mean(bills: Sequence[Bill]) -> Bill:
    """The mean of some bills, line by line."""
    names = dict.fromkeys(name for bill in bills for name in bill.units)
    return Bill({name: sum(bill.units.get(name, 0) for bill in bills) / len(bills) for name in names})
