"""A real GPU, where there is one: a process trains on it, its bytes are seen, and are gone when it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hungry import MIB, until

from maitred.worker.gpus import environment, find

TRAINING = """
import sys, torch
model = torch.nn.Sequential(torch.nn.Linear(1024, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1)).cuda()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
x = torch.randn(8192, 1024, device="cuda")
y = x[:, :1] * 3
first = None
for _ in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    first = first or loss.item()
assert loss.item() < first / 2, (first, loss.item())
print(torch.cuda.device_count(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_who_trains_on_a_gpu_is_seen_on_it_while_it_lives() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    gpus = find("auto")
    if not gpus.devices:
        pytest.skip(f"no GPU: {gpus.words}")
    uuid = gpus.place(512 * MIB, {})
    assert uuid is not None
    surroundings = os.environ | environment(uuid, "required")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING], env=surroundings, stdin=pipe, stdout=pipe, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdin is not None
        assert one.stdout.readline() == "1\n"
        if not gpus.usage():
            one.stdin.close()
            pytest.skip("NVML tells of no process here, as in many containers")
        used, time_ = gpus.usage()[one.pid]
        assert used > 64 * MIB
        assert 0 <= time_ <= 1
        one.stdin.write("\n")
        one.stdin.close()
    assert one.returncode == 0
    assert until(lambda: one.pid not in gpus.usage())
    gpus.close()
