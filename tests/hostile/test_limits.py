"""Samples that no machine, or no limit of memory, has room for are refused before one of them is made."""

import pytest
import safetensors.torch
import torch
from torch import nn

import gpu
from gpu.cli.main import main

TOO_LARGE_FOR_ANY_MACHINE = (100_000, 100_000, 1000)
TOO_LARGE_FOR_THE_LIMIT, LIMIT = (1, 2048, 2048), 10**8


class NeverRun(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        raise AssertionError("the samples were made")


@pytest.mark.parametrize("work", [gpu.trace, gpu.collapse, gpu.merge])
def test_samples_that_no_machine_has_room_for(work):
    with pytest.raises(
        MemoryError, match=r"^in_shape: .* samples of shape \(100000, 100000, 1000\) needs [\d,]+ bytes"
    ):
        work(NeverRun(), TOO_LARGE_FOR_ANY_MACHINE)


def test_a_limit_holds_for_the_samples_before_anything_is_run():
    with pytest.raises(gpu.collapsing.memory.MapTooLargeError, match=r"^in_shape: .*limit of 100,000,000 bytes; raise"):
        gpu.collapse(NeverRun(), TOO_LARGE_FOR_THE_LIMIT, max_bytes=LIMIT)


@pytest.mark.parametrize("more", [[], ["--linearize"]], ids=["", "linearize"])
def test_the_command_refuses_with_its_own_option(tmp_path, capsys, more):
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(NeverRun().state_dict(), weights)
    given = ["collapse", "--model", f"{__name__}:NeverRun", "--weights", str(weights), "--out", str(tmp_path / "out")]
    shape = ",".join(map(str, TOO_LARGE_FOR_THE_LIMIT))
    assert main([*given, "--in-shape", shape, "--max-bytes", str(LIMIT), *more]) == 1
    line = capsys.readouterr().err
    assert "error: in_shape: " in line
    assert line.endswith("more than the limit of 100,000,000 bytes; raise --max-bytes\n")


def test_a_batch_to_be_timed_that_no_machine_has_room_for():
    with pytest.raises(MemoryError, match=r"^in_shape: a batch of 1000000000000 samples"):
        gpu.merge(NeverRun(), (1,), batch_size=10**12)


def test_samples_within_the_limit_are_made():
    assert gpu.collapse(nn.Linear(3, 2), (3,), max_bytes=LIMIT).affine.W.shape == (2, 3)
    assert torch.equal(gpu.collapse(nn.Identity(), (2,)).module(torch.ones(1, 2)), torch.ones(1, 2))
