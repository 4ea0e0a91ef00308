"""The denominator of MFU: a data sheet where the device is known, else a measurement."""

import pytest
import torch

from trainer.distributed import Ranks
from trainer.machine import machine
from trainer.peaks import data_sheet_peak


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
    ],
)
def test_known_gpus_have_the_dense_figure_of_their_data_sheet(device, tflops):
    assert data_sheet_peak(device) == tflops * 1e12


@pytest.mark.parametrize("device", ["NVIDIA A10G", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Xeon"])
def test_others_are_measured(device):
    assert data_sheet_peak(device) is None


def test_a_cpu_is_measured_and_the_log_says_so():
    found = machine(Ranks(0, 2, torch.device("cpu")), "fp32")
    line = found.line("pretrain", 7)
    assert (line["kind"], line["phase"], line["step"]) == ("machine", "pretrain", 7)
    assert line["peak_origin"] == "measured"
    assert found.peak_flops_per_s > 0
    assert {"python", "torch", "mmbert"} <= found.versions.keys()
    # Two ranks at their peaks for a second.
    assert found.mfu(2 * found.peak_flops_per_s, 1.0) == pytest.approx(1.0)
