"""Which cards a torch wheel has code for."""

import pytest

from gpu_runner import host
from gpu_runner.solver import devices
from gpu_runner.solver.devices import check_architecture, check_device
from gpu_runner.solver.errors import UnsupportedDevice

WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "compute_90")


@pytest.mark.parametrize(
    ("card", "capability", "arch"),
    [
        ("Tesla T4", (7, 5), "sm_75"),
        ("A10G", (8, 6), "sm_86"),
        ("L4", (8, 9), "sm_86"),
        ("A100", (8, 0), "sm_80"),
        ("H100", (9, 0), "sm_90"),
        ("B200", (10, 0), "compute_90"),
    ],
)
def test_a_card_runs_binaries_of_its_generation_and_ptx_of_earlier_ones(card, capability, arch):
    assert check_architecture(card, capability, WHEEL) == arch


@pytest.mark.parametrize("known", [WHEEL, ("sm_80",), ("compute_75",), ("nonsense",), ()])
def test_a_card_without_code_is_refused_with_its_name_the_wheels_list_and_what_to_do(known):
    with pytest.raises(UnsupportedDevice) as refused:
        check_architecture("Tesla V100", (7, 0), known)
    assert "Tesla V100 (sm_70)" in str(refused.value)
    assert ", ".join(known) in str(refused.value)
    assert "Next: " in str(refused.value)


def test_code_for_one_architecture_alone_runs_on_that_one_alone():
    assert check_architecture("H100", (9, 0), ["sm_90a"]) == "sm_90a"
    assert check_architecture("RTX 5090", (12, 0), ["sm_100a", "sm_120f"]) == "sm_120f"
    with pytest.raises(UnsupportedDevice):
        check_architecture("B300", (10, 3), ["sm_100a"])


def test_asking_for_a_gpu_where_torch_sees_none_says_what_to_do(monkeypatch):
    monkeypatch.setattr("gpu_runner.solver.devices.has_gpu", lambda: False)
    with pytest.raises(UnsupportedDevice, match=r"sees no GPU.*Next: "):
        check_device("cuda")
    assert check_device("cpu") == "a CPU"


def test_the_runner_takes_the_gpu_it_has_code_for_and_refuses_another(monkeypatch):
    assert host.pick_device() == ("cpu", "torch sees no GPU") or devices.has_gpu()
    monkeypatch.setattr(devices, "has_gpu", lambda: True)
    monkeypatch.setattr(devices, "allow_tf32", lambda: None)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: list(WHEEL))
    assert host.pick_device() == ("cuda", "Tesla T4 (sm_75, code for sm_75)")
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_90"])
    with pytest.raises(UnsupportedDevice, match="Tesla T4"):
        host.pick_device()
