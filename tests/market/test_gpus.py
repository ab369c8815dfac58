"""GPU models: one name for each, whoever spells it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.gpus import gpu_model

NAMES = [
    ("NVIDIA A100-SXM4-80GB", "nvidia-a100"),
    ("NVIDIA A100-SXM4-40GB", "nvidia-a100"),
    ("NVIDIA A100 80GB PCIe", "nvidia-a100"),
    ("NVIDIA A100-PCIE-40GB", "nvidia-a100"),
    ("A100-SXM4-40GB", "nvidia-a100"),
    ("NVIDIA A100X", "nvidia-a100x"),
    ("NVIDIA A800-SXM4-80GB", "nvidia-a800"),
    ("NVIDIA A10", "nvidia-a10"),
    ("NVIDIA A10G", "nvidia-a10g"),
    ("NVIDIA A40", "nvidia-a40"),
    ("NVIDIA H100 80GB HBM3", "nvidia-h100"),
    ("NVIDIA H100 PCIe", "nvidia-h100"),
    ("NVIDIA H100 NVL", "nvidia-h100"),
    ("NVIDIA H200", "nvidia-h200"),
    ("NVIDIA GH200 480GB", "nvidia-gh200"),
    ("NVIDIA B200", "nvidia-b200"),
    ("NVIDIA B300 SXM6 AC", "nvidia-b300"),
    ("NVIDIA L4", "nvidia-l4"),
    ("NVIDIA L40", "nvidia-l40"),
    ("NVIDIA L40S", "nvidia-l40s"),
    ("Tesla T4", "nvidia-t4"),
    ("Tesla P100-PCIE-16GB", "nvidia-p100"),
    ("Tesla V100-SXM2-32GB", "nvidia-v100"),
    ("Tesla V100-SXM2-32GB-LS", "nvidia-v100"),
    ("Tesla V100S-PCIE-32GB", "nvidia-v100s"),
    ("NVIDIA GeForce RTX 4090", "nvidia-rtx-4090"),
    ("NVIDIA GeForce RTX 4090 D", "nvidia-rtx-4090-d"),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "nvidia-rtx-4090-laptop"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", "nvidia-rtx-4070-ti-super"),
    ("GeForce RTX 3090", "nvidia-rtx-3090"),
    ("GeForce GTX 1050 Ti with Max-Q Design", "nvidia-gtx-1050-ti-max-q"),
    ("NVIDIA GeForce GTX 1060 6GB", "nvidia-gtx-1060"),
    ("NVIDIA RTX A6000", "nvidia-rtx-a6000"),
    ("NVIDIA RTX 6000 Ada Generation", "nvidia-rtx-6000-ada"),
    ("Quadro RTX 6000", "nvidia-quadro-rtx-6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "nvidia-rtx-pro-6000-blackwell"),
    ("NVIDIA TITAN X (Pascal)", "nvidia-titan-x-pascal"),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "nvidia-a100-mig-1g.5gb"),
    ("GRID A100D-8C", "nvidia-grid-a100d-8c"),
    ("AMD Instinct MI300X", "amd-instinct-mi300x"),
    ("unknown", "unknown"),
    ("", ""),
]
"""What drivers of several ages say, and what is meant."""


@pytest.mark.parametrize(("name", "model"), NAMES)
def test_what_a_driver_says_is_named_by_its_model(name: str, model: str) -> None:
    assert gpu_model(name) == model


@pytest.mark.parametrize("name", ["A100", "a100", "nvidia-a100", "NVIDIA A100", " nvidia_a100 ", "A100-80GB"])
def test_what_a_requester_writes_means_the_same_model(name: str) -> None:
    assert gpu_model(name) == "nvidia-a100"


@pytest.mark.parametrize("name", ["RTX 4070 Ti", "rtx4070ti", "RTX4070 Ti", "nvidia-rtx-4070-ti"])
def test_words_that_are_written_together_are_told_apart(name: str) -> None:
    assert gpu_model(name) == "nvidia-rtx-4070-ti"


@pytest.mark.parametrize("name", ["---", "80GB", " ", "NVIDIA"])
def test_a_name_that_tells_no_model_is_none_rather_than_any(name: str) -> None:
    assert gpu_model(name) == "nvidia"


@given(st.text(max_size=64) | st.sampled_from([name for name, _ in NAMES]))
def test_a_model_is_its_own_name(name: str) -> None:
    assert gpu_model(gpu_model(name)) == gpu_model(name)
