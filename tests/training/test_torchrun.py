"""Two processes of a data-parallel training, as torchrun starts them, on CPUs."""

import json
import subprocess
import sys

import pytest
import torch
from commands import PATIENCE
from safetensors.torch import load_file
from transformers import TrainingArguments

import steadytune as st
from steadytune.testing.models import rows, tiny_classifier

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
warnings.filterwarnings("ignore")
import torch
import torch.distributed as dist
from steadytune.testing.models import rows, tiny_classifier
from safetensors.torch import save_file
from transformers import TrainingArguments
import steadytune as st

for name, case in given["cases"].items():
    arguments = TrainingArguments(given["folder"], per_device_train_batch_size=4, **case["arguments"])
    model = tiny_classifier("bert", dropout=case["dropout"])
    trainer = st.StableTrainer(model, arguments, train_dataset=rows(16), stabilizers=case["methods"])
    trainer.train()
    kept = [tensor for run in trainer.stabilization.runs.values() for tensor in run.state.values()]
    weights = torch.cat([weight.detach().flatten().float() for weight in [*trainer.model.parameters(), *kept]])
    everyone = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, weights)
    if dist.get_rank() == 0:
        save_file({str(rank): one for rank, one in enumerate(everyone)}, given["folder"] + "/" + name)
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


# Adam would make steps of its own out of gradients that are nothing but rounding.
DESCENT = {**ARGUMENTS, "optim": "sgd", "learning_rate": 0.05}
CASES = {
    "masks chosen": [{"child_tuning": {"variant": "D"}}, *SOME, *NOISY],
    "masks drawn": [{"child_tuning": {"variant": "F"}}, *SOME, *NOISY],
    "passes and centres": [{"smart": {"radius": 0.1}}, "lnsr", {"centre_loss": {"weight": 0.1}}, "supcon"],
    "descent": [{"child_tuning": {"variant": "F"}}, *SOME, "l2_sp", "llrd", {"smart": {"weight": 0.0, "mu": 2.0}}],
}


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory):
    """Train on batches of two times four, all cases one after another; return weights and state of both processes."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no distributed package")
    folder = tmp_path_factory.mktemp("torchrun")
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    cases = {
        name: {
            "methods": methods,
            "dropout": name != "descent",
            "arguments": DESCENT if name == "descent" else ARGUMENTS,
        }
        for name, methods in CASES.items()
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(script), json.dumps({"folder": str(folder), "cases": cases})),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: load_file(folder / name) for name in CASES}


@pytest.mark.parametrize("case", [name for name in CASES if name != "descent"])
def test_both_processes_end_with_the_same_weights_and_state(case, in_two_processes):
    first, second = (in_two_processes[case][rank] for rank in "01")

    assert first.isfinite().all()
    assert torch.equal(first, second)


def test_two_processes_train_as_one_does_on_the_batches_of_both(in_two_processes, tmp_path):
    both = in_two_processes["descent"]["0"]
    model = tiny_classifier("bert", dropout=False)
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    arguments = TrainingArguments(str(tmp_path), per_device_train_batch_size=8, **DESCENT)

    st.StableTrainer(model, arguments, train_dataset=rows(16), stabilizers=CASES["descent"]).train()

    alone = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert (model.bert.embeddings.word_embeddings.weight - before).abs().max() > 1e-3
    assert torch.allclose(both[: len(alone)], alone, rtol=0, atol=1e-5)
