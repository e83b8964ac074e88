"""Two processes of a data-parallel training, as torchrun starts them, on CPUs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import json, sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.filterwarnings("ignore")
import torch
import torch.distributed as dist
from architectures import rows, tiny_classifier
from transformers import TrainingArguments
import steadytune as st

some = [
    st.WDPre(decay=0.1), st.CNGC(limit=0.1), st.LPFT(epochs=1), st.EMA(decay=0.9),
    st.MHLoss(heads=3), st.R3F(), st.FreeLB(), st.Mixout(), st.Reinit(blocks=1),
]
methods = {
    "masks chosen": [st.ChildTuning(variant="D"), *some],
    "masks drawn": [st.ChildTuning(variant="F"), *some],
    "passes and centres": [st.SMART(radius=0.1), st.LNSR(), st.CentreLoss(weight=0.1), st.SupCon()],
}[sys.argv[3]]
arguments = TrainingArguments(
    sys.argv[2], num_train_epochs=2, per_device_train_batch_size=4, learning_rate=5e-3, report_to="none",
    save_strategy="no", disable_tqdm=True, use_cpu=True, log_level="error", ddp_find_unused_parameters=False,
)
trainer = st.StableTrainer(tiny_classifier("bert"), arguments, train_dataset=rows(16), stabilizers=methods)
trainer.train()
kept = [tensor for run in trainer.stabilization.runs.values() for tensor in run.state.values()]
weights = torch.cat([weight.detach().flatten().float() for weight in [*trainer.model.parameters(), *kept]])
everyone = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
dist.all_gather(everyone, weights)
if dist.get_rank() == 0:
    print("RESULT", json.dumps({"gap": float((everyone[0] - everyone[1]).abs().max()),
                                "finite": bool(weights.isfinite().all()), "processes": len(everyone)}))
dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
@pytest.mark.parametrize("methods", ["masks chosen", "masks drawn", "passes and centres"])
def test_both_processes_end_with_the_same_weights_and_state(methods, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]

    done = subprocess.run(
        [*command, str(Path(__file__).parents[1]), str(tmp_path / "out"), methods],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert json.loads(line.removeprefix("RESULT")) == {"gap": 0.0, "finite": True, "processes": 2}
