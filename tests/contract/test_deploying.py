"""The template comes up in every region and twice in one account, and is updated without loss."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cfnlint.helpers import AVAILABILITY_ZONES
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from arcspot_cli.naming import LONGEST_STACK_NAME, too_long
from arcspot_cli.zones import MOST
from tests.fakes import house
from tests.fakes.cloudformation import (
    NO_VALUE,
    Deployment,
    at,
    mentions,
    partition,
    regions,
    schema,
    transformed,
)

TRANSFORMED = transformed()
RESOURCES: dict[str, Any] = TRANSFORMED["Resources"]
PARAMETERS = set(TRANSFORMED["Parameters"])

# How long a name may be. Each is a name that the template gives itself.
LIMITS = {
    # https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    ("AWS::Lambda::Function", "FunctionName"): 64,
    # https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
    ("AWS::Scheduler::Schedule", "Name"): 64,
    # https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateScheduleGroup.html
    ("AWS::Scheduler::ScheduleGroup", "Name"): 64,
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    ("AWS::Events::Rule", "Name"): 64,
    # https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
    ("AWS::StepFunctions::StateMachine", "StateMachineName"): 80,
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    # https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html
    ("AWS::Lambda::LayerVersion", "LayerName"): 140,
}


def names() -> dict[tuple[str, str], Any]:
    """(Logical id, property) → the name that the template gives a resource; such names are create-only."""
    found = {}
    for logical, resource in RESOURCES.items():
        for pointer in schema(resource["Type"]).get("createOnlyProperties", ()):
            last = pointer.rpartition("/")[2]
            for value in at(resource.get("Properties", {}), pointer):
                # A name that refers to another resource is that one's; a service's name is nobody's here.
                own = not mentions(value) & set(RESOURCES)
                if last.endswith("Name") and last != "ServiceName" and own:
                    found[logical, last] = value
    return found


NAMES = names()


def test_the_names_are_found_where_cloudformations_schemas_say() -> None:
    kinds = {(RESOURCES[logical]["Type"], name) for logical, name in NAMES}
    assert kinds == set(LIMITS)


@pytest.mark.parametrize("logical", sorted({name for name, _ in NAMES}))
def test_every_name_contains_the_stacks_name(logical: str) -> None:
    for (owner, _), value in NAMES.items():
        if owner == logical:
            assert "AWS::StackName" in mentions(value), value


def test_two_stacks_stand_side_by_side_in_one_account_and_region() -> None:
    def deployed(stack: str) -> set[tuple[str, str]]:
        here = Deployment(stack=stack)
        return {(RESOURCES[logical]["Type"], here.value(value)) for (logical, _), value in NAMES.items()}

    assert len(deployed("one")) == len(NAMES)
    assert not deployed("one") & deployed("two")


@pytest.mark.parametrize("stack", ["a", "arcspot", "x" * LONGEST_STACK_NAME])
def test_every_name_of_a_stack_with_an_allowed_name_fits(stack: str) -> None:
    assert too_long(stack) is None
    for (logical, name), value in NAMES.items():
        assert len(Deployment(stack=stack).value(value)) <= LIMITS[RESOURCES[logical]["Type"], name], logical


def test_one_character_more_fits_no_longer_and_is_refused_with_the_rule() -> None:
    stack = "x" * (LONGEST_STACK_NAME + 1)
    over = [
        logical
        for (logical, name), value in NAMES.items()
        if len(Deployment(stack=stack).value(value)) > LIMITS[RESOURCES[logical]["Type"], name]
    ]
    assert over
    refused = too_long(stack)
    assert refused is not None
    assert "64" in refused


def test_every_schedule_of_the_stack_is_in_its_own_group() -> None:
    """There `cleanup` finds them, and another stack's are others."""
    schedules = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Scheduler::Schedule"]
    assert len(schedules) == 2
    for schedule in schedules:
        assert schedule["GroupName"] == {"Ref": "Timers"}


def test_no_schedule_of_the_stack_is_taken_for_a_recurring_submission() -> None:
    from arcspot_cli.scheduling import OURS

    stack = f"{OURS}x"  # a stack may be called so
    for schedule in Deployment(stack=stack).resources("AWS::Scheduler::Schedule").values():
        assert not schedule["Name"].startswith(OURS)


# ---- Zones ---------------------------------------------------------------------------------------


def subnets(here: Deployment) -> dict[str, str]:
    """Logical id → zone of the subnets that are made."""
    return {n: p["AvailabilityZone"] for n, p in here.resources("AWS::EC2::Subnet").items()}


@pytest.mark.parametrize("region", regions())
def test_without_named_zones_a_stack_uses_two_of_any_region(region: str) -> None:
    made = subnets(Deployment(region=region))
    assert list(made.values()) == AVAILABILITY_ZONES[region][:2]


@pytest.mark.parametrize("zones", [["us-west-1b", "us-west-1c"], ["ap-northeast-1a", "ap-northeast-1d"]])
def test_an_account_that_does_not_see_the_letters_a_and_b_gets_what_it_sees(zones: list[str]) -> None:
    assert list(subnets(Deployment(region=zones[0][:-1], zones=zones)).values()) == zones


@pytest.mark.parametrize("letters", ["a", "f", "bd", "abc", "cfae"])
@pytest.mark.parametrize("region", ["us-east-1", "us-gov-west-1", "me-south-1"])
def test_named_zones_get_a_subnet_each_and_nobody_else(letters: str, region: str) -> None:
    wanted = [region + letter for letter in letters]
    here = Deployment(region=region, parameters={"Zones": ",".join(wanted)})
    made = subnets(here)
    assert sorted(made.values()) == sorted(wanted)
    routed = here.resources("AWS::EC2::SubnetRouteTableAssociation").values()
    assert sorted(route["SubnetId"] for route in routed) == sorted(f"<{name}>" for name in made)
    launch = here.resources("AWS::Lambda::Function")["LaunchFunction"]["Environment"]["Variables"]
    told = [each.partition("=")[0] for each in launch["SUBNET_IDS"].split(",")]
    assert sorted(told) == sorted(f"<{name}>" for name in made)
    assert here.value(TRANSFORMED["Outputs"]["SubnetIds"]["Value"]).split(",") == told


def test_the_parameter_takes_one_to_four_names_and_nothing_else() -> None:
    pattern = re.compile(TRANSFORMED["Parameters"]["Zones"]["AllowedPattern"])
    good = [f"us-gov-west-1{letter}" for letter in "abcdef"]
    for count in range(1, MOST + 1):
        assert pattern.fullmatch(",".join(good[:count]))
    assert pattern.fullmatch("")
    for bad in (",".join(good[: MOST + 1]), "us-east-1", "us-west-2-lax-1a", "us-east-1a, us-east-1b", "a,b"):
        assert not pattern.fullmatch(bad), bad


def test_whatever_zones_follow_each_other_no_two_subnets_want_the_same_addresses() -> None:
    """An update makes the new subnets before it takes the old ones away."""
    every = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::EC2::Subnet"]
    blocks = [ipaddress.ip_network(properties["CidrBlock"]) for properties in every]
    vpc = ipaddress.ip_network(RESOURCES["Vpc"]["Properties"]["CidrBlock"])
    assert all(block.subnet_of(vpc) for block in blocks)  # type: ignore[arg-type]
    assert not [(a, b) for a in blocks for b in blocks if a is not b and a.overlaps(b)]


# ---- Regions and partitions ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["as written", "transformed"])
def test_the_template_lints_for_every_region_of_three_partitions(form: str, tmp_path: Path) -> None:
    path = house.ROOT / "template.yaml"
    if form == "transformed":
        path = tmp_path / "template.json"
        path.write_text(json.dumps(TRANSFORMED))
    assert {partition(region) for region in regions()} == {"aws", "aws-cn", "aws-us-gov"}
    assert len(regions()) > 35
    command = [sys.executable, "-c", "from cfnlint.runner import main; main()"]
    command += ["--template", str(path), "--regions", *regions()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def known_regions() -> list[str]:
    """Those that cfn-lint has data of; for others it answers as for us-east-1."""
    folder = Path(sys.modules["cfnlint"].__path__[0]) / "data" / "schemas" / "providers"
    return [region for region in regions() if (folder / f"{region}.json").exists()]


def test_a_budget_is_made_exactly_where_cloudformation_can_make_one() -> None:
    kinds = {"AWS::Budgets::Budget", "AWS::Budgets::BudgetsAction"}
    can = {r for r in known_regions() if kinds <= set(PROVIDER_SCHEMA_MANAGER.get_resource_types(r))}
    assert can == {region for region in regions() if Deployment(region=region).holds("Backstop")}
    assert "eu-north-1" not in can
    assert "us-east-1" in can


DOOR = {"Fn::Sub": "${AWS::StackName}-runner_api"}
BACKSTOP = {"AccountBudget", "BudgetAction", "BudgetRole", "BudgetRolePolicy", "NoMoreInstances"}


@pytest.mark.parametrize(
    "here", [Deployment(parameters={"BudgetBackstop": "false"}), Deployment(region="eu-north-1")]
)
def test_without_a_budget_nothing_of_it_is_made_and_nobody_refers_to_it(here: Deployment) -> None:
    assert not here.holds("Backstop")
    assert {name for name, r in RESOURCES.items() if r.get("Condition") == "Backstop"} == BACKSTOP
    for name, resource in RESOURCES.items():
        if name not in BACKSTOP:
            assert not mentions(resource.get("Properties")) & BACKSTOP, name
            assert not set(resource.get("DependsOn", ())) & BACKSTOP, name
    for name, output in TRANSFORMED["Outputs"].items():
        assert output.get("Condition") == "Backstop" or not mentions(output) & BACKSTOP, name


def test_calls_of_runner_api_are_bounded_where_the_account_has_room() -> None:
    """A new account has ten concurrent executions, of which Lambda lets nobody reserve any."""
    (door,) = [r for r in RESOURCES.values() if r.get("Properties", {}).get("FunctionName") == DOOR]
    wanted = door["Properties"]["ReservedConcurrentExecutions"]
    assert Deployment().value(wanted) is NO_VALUE
    assert Deployment(parameters={"RunnerApiConcurrency": "40"}).value(wanted) == "40"
    others = [r for r in RESOURCES.values() if "ReservedConcurrentExecutions" in r.get("Properties", {})]
    assert others == [door]


def deployed_files() -> list[Path]:
    sources = ["template.yaml", "statemachines", "functions", "layers", "gpu_runner"]
    found = [path for name in sources for path in [house.ROOT / name, *(house.ROOT / name).rglob("*")]]
    return [p for p in found if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".safetensors"]


def test_nothing_that_is_deployed_names_a_partition() -> None:
    files = deployed_files()
    assert len(files) > 100
    named = {
        str(path.relative_to(house.ROOT))
        for path in files
        if re.search(r"arn:aws[a-z-]*:", path.read_text(errors="ignore"))
    }
    assert not named


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1"])
def test_every_arn_of_a_deployment_is_of_its_own_partition(region: str) -> None:
    here = Deployment(region=region)
    text = json.dumps({
        name: here.value({k: v for k, v in resource["Properties"].items() if k != "ManagedPolicyArns"})
        for name, resource in RESOURCES.items()
        if "Properties" in resource
    })  # fmt: skip
    substituted = text.replace("${Partition}", partition(region))
    assert set(re.findall(r"arn:([^:]*):", substituted)) == {partition(region)}
    machine = RESOURCES["RunnerLifecycle"]["Properties"]
    assert here.value(machine["DefinitionSubstitutions"])["Partition"] == partition(region)


def test_an_instance_is_trusted_under_the_name_that_ec2_has_in_the_partition() -> None:
    for region, service in (("us-east-1", "ec2.amazonaws.com"), ("cn-north-1", "ec2.amazonaws.com.cn")):
        here = Deployment(region=region)
        (trusted,) = here.resources("AWS::IAM::Role")["RunnerRole"]["AssumeRolePolicyDocument"]["Statement"]
        assert trusted["Principal"] == {"Service": service}
        assert f'"iam:PassedToService": "{service}"' in json.dumps(here.resources("AWS::IAM::Role"))


# ---- Updates -------------------------------------------------------------------------------------

# What must be unlike anything that exists already, besides names. A layer's versions share its name.
UNIQUE = {"AWS::EC2::Subnet": ("CidrBlock",), "AWS::Lambda::LayerVersion": ()}


def follows_a_parameter(value: Any, replaced: set[str]) -> bool:
    """Whether a value can change with the parameters: itself, by a condition or by a resource that does."""
    found = mentions(value)
    conditions = {name[1:] for name in found if name.startswith("?")}
    return bool(found & (PARAMETERS | replaced)) or any(
        follows_a_parameter(TRANSFORMED["Conditions"][name], replaced) for name in conditions
    )


def replaced_with_parameters() -> set[str]:
    """The resources that a changed parameter replaces: one of their create-only properties follows it."""
    replaced: set[str] = set()
    while True:
        more = {
            logical
            for logical, resource in RESOURCES.items()
            for pointer in schema(resource["Type"]).get("createOnlyProperties", ())
            for value in at(resource.get("Properties", {}), pointer)
            if follows_a_parameter(value, replaced)
        }
        if more <= replaced:
            return replaced
        replaced |= more


def test_what_a_changed_parameter_replaces_has_no_fixed_name() -> None:
    replaced = replaced_with_parameters()
    assert {"AccountBudget", "BudgetAction"} <= replaced, "a changed AlertEmail replaces them"
    for logical in replaced:
        kind = RESOURCES[logical]["Type"]
        unique = UNIQUE.get(kind, tuple(name for owner, name in NAMES if owner == logical))
        assert not set(unique) & set(RESOURCES[logical]["Properties"]), logical
    assert not {owner for owner, _ in NAMES} & replaced


def test_an_instance_that_boots_during_an_update_still_gets_its_program() -> None:
    """It was told one version of the layer by its user data; the update must not take that away."""
    bundles = [
        r for r in RESOURCES.values() if "-runner" in json.dumps(r.get("Properties", {}).get("LayerName", ""))
    ]
    (bundle,) = bundles
    assert bundle["DeletionPolicy"] == "Retain"
    here = Deployment()
    (policy,) = here.resources("AWS::IAM::Role")["RunnerRole"]["Policies"]
    (fetch,) = [s for s in policy["PolicyDocument"]["Statement"] if s["Action"] == "lambda:GetLayerVersion"]
    layer = here.value(bundle["Properties"]["LayerName"])
    assert fetch["Resource"] == f"arn:aws:lambda:us-east-1:123456789012:layer:{layer}:*"


HOLDS_DATA = ("AWS::S3::Bucket", "AWS::DynamoDB::Table")


@pytest.mark.parametrize("logical", [n for n, r in RESOURCES.items() if r["Type"] in HOLDS_DATA])
def test_results_outlive_a_deleted_stack_and_a_replaced_resource(logical: str) -> None:
    """A first deployment that fails leaves nothing; later the data stay until `cleanup` removes them."""
    assert RESOURCES[logical]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[logical]["UpdateReplacePolicy"] == "Retain"


# ---- The backstop --------------------------------------------------------------------------------


def test_the_budget_sees_what_is_paid_by_credits_and_refunds() -> None:
    counted = RESOURCES["AccountBudget"]["Properties"]["Budget"]["CostTypes"]
    assert counted == {"IncludeCredit": False, "IncludeRefund": False}


def waits_for(logical: str) -> set[str]:
    """Everything that is made before a resource."""
    resource = RESOURCES[logical]
    told = resource.get("DependsOn", [])
    first = {told} if isinstance(told, str) else set(told)
    first |= mentions(resource.get("Properties", {})) & set(RESOURCES)
    return first.union(*map(waits_for, first))


def test_the_budgets_role_is_among_the_first_and_its_action_among_the_last() -> None:
    """IAM tells others of a new role some seconds later; until then the action is refused."""
    assert not waits_for("BudgetRole")
    before = waits_for("BudgetAction")
    assert {"BudgetRole", "BudgetRolePolicy", "NoMoreInstances"} <= before
    slow = {"AWS::Lambda::Function", "AWS::StepFunctions::StateMachine", "AWS::Scheduler::Schedule"}
    assert slow <= {RESOURCES[name]["Type"] for name in before if name not in waits_for("BudgetRole")}
