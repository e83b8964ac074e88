"""Two processes of a data-parallel training, as torchrun starts them, on CPUs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from architectures import rows, tiny_classifier
from commands import PATIENCE
from safetensors.torch import load_file
from transformers import TrainingArguments

import steadytune as st

ARGUMENTS = {
    "num_train_epochs": 2,
    "learning_rate": 5e-3,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
    "log_level": "error",
}
SCRIPT = """
import json, sys, warnings
given = json.loads(sys.argv[1])
sys.path.insert(0, given["tests"])
warnings.filterwarnings("ignore")
import torch
import torch.distributed as dist
from architectures import rows, tiny_classifier
from safetensors.torch import save_file
from transformers import TrainingArguments
import steadytune as st

arguments = TrainingArguments(given["folder"], per_device_train_batch_size=4, **given["arguments"])
model = tiny_classifier("bert", dropout=given["dropout"])
trainer = st.StableTrainer(model, arguments, train_dataset=rows(16), stabilizers=given["methods"])
trainer.train()
kept = [tensor for run in trainer.stabilization.runs.values() for tensor in run.state.values()]
weights = torch.cat([weight.detach().flatten().float() for weight in [*trainer.model.parameters(), *kept]])
everyone = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
dist.all_gather(everyone, weights)
if dist.get_rank() == 0:
    save_file({str(rank): one for rank, one in enumerate(everyone)}, given["folder"] + "/weights")
dist.destroy_process_group()
"""
SOME = [
    {"wd_pre": {"decay": 0.1}},
    {"cngc": {"limit": 0.1}},
    {"lp_ft": {"epochs": 1}},
    {"ema": {"decay": 0.9}},
    {"mhloss": {"heads": 3}},
    {"reinit": {"blocks": 1}},
]
NOISY = ["r3f", "freelb", "mixout"]


def _in_two_processes(methods, folder, dropout=True, **changes):
    """Train on batches of two times four; return weights and state of both processes."""
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    given = {"tests": str(Path(__file__).parents[1]), "folder": str(folder), "methods": methods, "dropout": dropout}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(script), json.dumps({**given, "arguments": {**ARGUMENTS, **changes}})),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = load_file(folder / "weights")
    return found["0"], found["1"]


needs_processes = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)


@needs_processes
@pytest.mark.parametrize(
    "methods",
    [
        pytest.param([{"child_tuning": {"variant": "D"}}, *SOME, *NOISY], id="masks chosen"),
        pytest.param([{"child_tuning": {"variant": "F"}}, *SOME, *NOISY], id="masks drawn"),
        pytest.param(
            [{"smart": {"radius": 0.1}}, "lnsr", {"centre_loss": {"weight": 0.1}}, "supcon"], id="passes and centres"
        ),
    ],
)
def test_both_processes_end_with_the_same_weights_and_state(methods, tmp_path):
    first, second = _in_two_processes(methods, tmp_path)

    assert first.isfinite().all()
    assert torch.equal(first, second)


@needs_processes
def test_two_processes_train_as_one_does_on_the_batches_of_both(tmp_path):
    methods = [{"child_tuning": {"variant": "F"}}, *SOME, "l2_sp", "llrd", {"smart": {"weight": 0.0, "mu": 2.0}}]
    # Adam would make steps of its own out of gradients that are nothing but rounding.
    changes = {"optim": "sgd", "learning_rate": 0.05}
    both, _ = _in_two_processes(methods, tmp_path, dropout=False, **changes)
    model = tiny_classifier("bert", dropout=False)
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    arguments = TrainingArguments(str(tmp_path), per_device_train_batch_size=8, **{**ARGUMENTS, **changes})

    st.StableTrainer(model, arguments, train_dataset=rows(16), stabilizers=methods).train()

    alone = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert (model.bert.embeddings.word_embeddings.weight - before).abs().max() > 1e-3
    assert torch.allclose(both[: len(alone)], alone, rtol=0, atol=1e-5)
