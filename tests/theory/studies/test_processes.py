import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from commands import PATIENCE

from steadytune.errors import UserError
from steadytune.theory.studies.processes import do_all


def doubled(job, progress):
    progress(0.5)
    return 2 * job


def looked_at(job, progress):
    return job, torch.get_num_threads(), os.getpid(), masked(job)


def broken(job, progress):
    if job == 1:
        raise LookupError("job 1")
    threading.Event().wait(PATIENCE)
    Path(job).touch()


def killed(job, progress):
    os.kill(os.getpid(), signal.SIGKILL)


def masked(seed):
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    tokenizer = BertTokenizerFast(vocab={token: n for n, token in enumerate(tokens)})
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, seed=seed)
    return collate([{"input_ids": list(range(5, 13))}])["input_ids"].tolist()


def test_the_largest_is_done_first_and_results_stand_in_the_order_of_the_jobs():
    shares, done = [], []
    found = do_all(doubled, [1, 2, 3], [1.0, 3.0, 2.0], progress=shares.append, done=done.append)
    assert found == [2, 4, 6]
    assert done == [4, 6, 2]
    assert shares == pytest.approx([1.5 / 6, 3 / 6, 4 / 6, 5 / 6, 5.5 / 6, 1])
    assert do_all(doubled, [], [], workers=2) == []


def test_several_processes_find_the_same_with_a_thread_each():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    shares, done = [], []
    try:
        here = do_all(looked_at, [5, 6, 7], [1.0, 2.0, 1.0])
        assert torch.get_num_threads() == 3
        apart = do_all(looked_at, [5, 6, 7], [1.0, 2.0, 1.0], workers=2, progress=shares.append, done=done.append)
    finally:
        torch.set_num_threads(before)
    assert [job for job, *_ in apart] == [5, 6, 7]
    assert sorted(done) == apart
    assert {number for _, number, *_ in here + apart} == {1}
    assert {process for _, _, process, _ in here} == {os.getpid()}
    assert os.getpid() not in {process for _, _, process, _ in apart}
    # Masking with a seed, which transformers refuses in processes of another name.
    assert [rows for *_, rows in apart] == [rows for *_, rows in here]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_what_a_job_raises_is_raised_at_once_and_the_others_are_killed(tmp_path):
    others = multiprocessing.active_children()
    with pytest.raises(LookupError, match="job 1"):
        do_all(broken, [tmp_path / "waited", 1], [1.0, 1.0], workers=2)
    assert not (tmp_path / "waited").exists()
    assert multiprocessing.active_children() == others


def test_a_process_that_is_killed_is_said_to_be():
    with pytest.raises(UserError, match="with fewer --workers"):
        do_all(killed, [0, 1], [1.0, 1.0], workers=2)
