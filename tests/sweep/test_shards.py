from collections import Counter

import pytest
import yaml
from commands import command, refused, runs_in
from hypothesis import given
from hypothesis import strategies as st
from made_runs import made_specs, made_study
from saying import names, says
from sweeps import Heard, check_whole, run_files, tiny_study

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.sweep.execute import run
from steadytune.sweep.plan import jobs
from steadytune.sweep.shards import read_shard, shard_of


@given(
    seeds=st.integers(1, 7),
    tasks=st.integers(1, 2),
    heads=st.sets(st.sampled_from(["a", "b", "c"])),
    data=st.booleans(),
    count=st.integers(1, 12),
)
def test_shards_are_all_runs_once_and_each_has_its_share_of_every_cohort(seeds, tasks, heads, data, count):
    recipes = {name: {"training": {"mode": "head" if name in heads else "full"}} for name in "abc"}
    grid = {"vary": ["init", "data"], "values": 3} if data else seeds
    study = made_study(task=[f"task/{n}" for n in range(tasks)], recipes=recipes, seeds=grid)
    specs = made_specs(study)
    shards = [shard_of(specs, number + 1, count) for number in range(count)]
    assert Counter(spec.id for shard in shards for spec in shard) == Counter(spec.id for spec in specs)
    # In the order of the study.
    assert all(shard == [spec for spec in specs if spec in shard] for shard in shards)
    together = [{*job.ids} for job in jobs(specs)]
    parts = [{spec.id for spec in shard} for shard in shards]
    assert all(any(job <= part for part in parts) for job in together), "a job is torn"
    for cohort in {spec.cohort for spec in specs}:
        mine = [job for job in jobs(specs) if job.specs[0].cohort == cohort]
        shares = [sum({*job.ids} <= part for job in mine) for part in parts]
        assert max(shares) - min(shares) <= 1
    sizes = [len(jobs(shard)) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_four_runs_of_two_recipes_are_dealt_as_by_hand():
    # The study goes through its recipes first; every second run of it would be all of one recipe.
    specs = made_specs(made_study(seeds=2, recipes=["standard", "mmr"]))
    assert [(spec.recipe, spec.seeds.init) for spec in shard_of(specs, 1, 2)] == [("standard", 0), ("mmr", 0)]
    assert [(spec.recipe, spec.seeds.init) for spec in shard_of(specs, 2, 2)] == [("standard", 1), ("mmr", 1)]
    assert shard_of(specs, 5, 5) == []


def test_a_shard_is_named_by_two_numbers():
    assert read_shard("2/8") == read_shard((2, 8)) == read_shard([2, 8]) == (2, 8)
    for wrong in ("2", "2/", "2-8", "2/8/1", "-1/8", " 2/8", "0x2/8", 2, None, (2,), (True, 2), (1.0, 2)):
        with pytest.raises(UserError, match=says("2/8", repr(wrong))):
            read_shard(wrong)
    for wrong in ("0/8", "9/8", "1/0", (-1, 8)):
        with pytest.raises(UserError, match=says("shard")):
            read_shard(wrong)


def test_each_shard_trains_its_own_and_the_last_writes_the_report(tiny_model, tiny_task, tmp_path):
    out = tmp_path / "out"
    study = tiny_study(tiny_model, tiny_task, seeds=3)
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--seeds", 3, "--out", out, "--workers", 1]
    words += [word for key, value in study.training.model_dump(exclude_unset=True).items() for word in _set(key, value)]
    planned = command(*words, "--shard", "2/2", "--dry-run")
    assert planned.out.splitlines()[-1].startswith("1 run,")
    second = command(*words, "--shard", "2/2")
    assert second.code == 0, second.err
    assert len(runs_in(out)) == 1
    assert names(second.out.splitlines()[-1], "shard 2 of 2", "2 runs", f"steadytune report {out}")
    assert not (out / "report.html").exists()
    before = run_files(out)
    first = command(*words, "--shard", "1/2")
    assert first.code == 0, first.err
    assert first.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    after = run_files(out)
    assert {path: after[path] for path in before} == before
    check_whole(out, study)


def _set(key, value):
    return "--set", f"training.{key}={value}"


def test_a_shard_of_no_runs_trains_none_and_one_that_failed_is_an_error(tiny_model, tiny_task, tmp_path):
    wild = {"training": {"learning_rate": 1e30, "epochs": 2}}
    recipes = {"standard": {}, "wild": wild}
    study = tiny_study(tiny_model, tiny_task, seeds=1, training={"mode": "head"}, recipes=recipes)
    heard = Heard()
    assert run(study, tmp_path / "out", shard=(3, 3), listener=heard).records() == []
    assert heard.total == (0, 0)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.to_dict()))
    words = ["run", tmp_path / "study.yaml", "--out", tmp_path / "out", "--workers", 1]
    assert command(*words, "--shard", "1/2").code == 0
    # The other recipe's run is there, but none of this shard's finished.
    assert command(*words, "--shard", "2/2").code == 1
    # What failed in another shard is left to it.
    heard = Heard()
    run(study, tmp_path / "out", shard="1/2", listener=heard, retry_failed=True)
    assert heard.total == (1, 0)
    assert [record.status for record in RunStore(tmp_path / "out").records()] == ["done", "diverged"]
    with pytest.raises(UserError, match=says("3/2")):
        run(study, tmp_path / "out", shard=(3, 2))
    assert names(refused(*words, "--shard", "x"), "2/8", "'x'")
