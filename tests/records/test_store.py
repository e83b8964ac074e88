import errno
import itertools
import json
import os
import shlex
import shutil

import numpy as np
import pytest
from made_runs import EXAMPLES, VERSIONS, made_arrays, made_record, made_specs, made_store, made_study
from saying import names, says

from steadytune import files
from steadytune.errors import FolderWarning, UserError
from steadytune.records import RunRecord, RunStore
from steadytune.study import Seeds, Study


@pytest.fixture
def store(tmp_path):
    return made_store(tmp_path / "out", made_study(recipes=["standard", "mmr"]))


def refused(*arguments):
    """Return what is said when a folder cannot be had for a study."""
    with pytest.raises(UserError) as caught:
        RunStore.create(*arguments, VERSIONS)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def corrupted(call):
    """Return the two lines, what is wrong and what mends it, that are said of a damaged run that is left out."""
    with pytest.warns(FolderWarning) as caught:
        call()
    (warning,) = caught
    wrong, remedy = str(warning.message).split("\n")
    return wrong, remedy


def command(remedy):
    """Return the words of the command that is named."""
    return shlex.split(remedy[remedy.index("steadytune run") :])


def snapshot(folder):
    """Every file with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_gives_back_the_runs_that_were_put_in(tmp_path):
    study = made_study()
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    spec = made_specs(study)[0]
    assert spec.id not in store
    assert store.records() == []
    with store.claim(spec.id) as mine:
        assert mine
        record = store.write(made_record(spec), made_arrays(spec))
    assert spec.id in store
    assert store.record(spec.id) == record
    assert record.arrays == {"logits": (6, 2), "labels": (6,), "representations": (2, 6, 4)}
    for name, array in made_arrays(spec).items():
        back = store.arrays(record)[name]
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    assert sorted(os.listdir(store.path / "runs" / spec.id)) == ["arrays.safetensors", "run.json"]


def test_a_run_that_did_not_finish_leaves_a_record_and_no_arrays(tmp_path):
    study = made_study()
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    lost = made_record(made_specs(study)[0], status="diverged", reason="the loss was not finite", score=None)
    store.write(lost, {})
    assert store.records() == [lost]
    assert store.arrays(lost) == {}


def test_runs_come_in_the_order_of_the_study(store):
    places = [(record.spec.recipe, record.spec.seeds.init) for record in store.records()]
    assert places == [("standard", 0), ("standard", 1), ("mmr", 0), ("mmr", 1)]


def test_runs_of_a_cohort_come_by_init_then_order_then_dropout_then_data(tmp_path):
    grid = [{"init": i, "order": o, "dropout": d, "data": t} for i, o, d, t in itertools.product(range(2), repeat=4)]
    mixed = [grid[place] for place in np.random.default_rng(0).permutation(len(grid))]
    store = made_store(tmp_path / "out", made_study(seeds=mixed, training={"train_size": 10}))
    assert [record.spec.seeds.model_dump() for record in store.records()] == [
        Seeds.model_validate(seeds).model_dump() for seeds in grid
    ]


def test_a_cohort_holds_the_runs_of_one_recipe(store):
    cohort = store.cohort("mmr")
    assert cohort.name == "a-model / a/task / mmr"
    assert cohort.logits.shape == (2, EXAMPLES, 2)
    assert len(cohort.representations) == 2
    assert cohort.seeds == ("0", "1")
    assert cohort.scores.tolist() == [0.75, 0.75]
    assert cohort.majority_score == 0.5
    assert not cohort.frozen_encoder
    specs = [spec for spec in made_specs(store.study) if spec.recipe == "mmr"]
    np.testing.assert_array_equal(cohort.logits[1], made_arrays(specs[1])["logits"])
    assert [cohort.recipe for cohort in store.cohorts()] == ["standard", "mmr"]


def test_the_representations_of_a_cohort_stay_in_their_files_until_they_are_touched(store):
    for run in store.cohort("mmr").representations:
        assert run.dtype == np.float16
        owner = run
        while not isinstance(owner, (np.memmap, type(None))):
            owner = owner.base
        assert owner is not None, "no view of a mapped file"


def test_runs_that_were_lost_are_named_in_their_cohort_and_not_counted(tmp_path):
    study = made_study(seeds=3)
    store = made_store(tmp_path / "out", made_study(seeds=2))
    RunStore.create(store.path, study, VERSIONS)
    store.write(made_record(made_specs(study)[2], status="crashed", reason="MemoryError", score=None), {})
    cohort = store.cohort("standard")
    assert len(cohort) == 2
    assert [(lost.seed, lost.status, lost.reason) for lost in cohort.lost] == [("2", "crashed", "MemoryError")]


def test_a_cohort_of_lost_runs_alone_is_empty(tmp_path):
    study = made_study(seeds=1)
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    (spec,) = made_specs(study)
    store.write_examples(spec, "classification", ["a"], ["no", "yes"])
    store.write(made_record(spec, status="diverged", reason="nan", score=None, majority_score=None), {})
    assert len(store.cohort("standard")) == 0
    assert len(store.cohort("standard").lost) == 1


def test_a_cohort_is_found_by_its_names_and_its_closest_name_is_told(tmp_path):
    store = made_store(tmp_path / "out", made_study(model=["one", "two"], recipes=["standard", "mmr"]))
    assert store.cohort("mmr", model="two").model == "two"
    with pytest.raises(UserError, match=says("'mrm'", "'mmr'")):
        store.cohort("mrm")
    with pytest.raises(UserError, match=says("2 cohorts", "'mmr'", "one / a/task / mmr, two / a/task / mmr")):
        store.cohort("mmr")
    with pytest.raises(UserError, match=says("0 cohorts", "'mmr'", "three")):
        store.cohort("mmr", model="three")


def test_the_study_is_kept_in_a_file_that_says_the_same(store):
    text = (store.path / "study.yaml").read_text()
    first, second, _ = text.split("\n", 2)
    assert names(first, "# ", "steadytune")
    assert second == "# python 3"
    assert Study.from_yaml(store.path / "study.yaml") == store.study == made_study(recipes=["standard", "mmr"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"learning_rate": 1e-3}}, ["training.learning_rate", "0.001"]),
        ({"training": {"epochs": 7}}, ["training.epochs", "5", "7"]),
        ({"model": "other"}, ["model", "a-model", "other"]),
        ({"task": "b/task"}, ["task", "a/task", "b/task"]),
        ({"task": {"name": "a/task", "label": "gold"}}, ["task 'a/task'", "label", "label", "gold"]),
        (
            {"recipes": {"mmr": {"stabilizers": [{"mmr": {"alpha": 0.7}}]}}},
            ["recipe 'mmr'", "stabilizers", "[{'mmr': {'alpha': 0.1}}]", "[{'mmr': {'alpha': 0.7}}]"],
        ),
        (
            {"recipes": {"standard": {"training": {"epochs": 2}}}},
            ["recipe 'standard'", "training", "{}", "{'epochs': 2}"],
        ),
    ],
)
def test_the_folder_of_another_study_is_refused_and_left_as_it_is(store, change, said):
    before = snapshot(store.path)
    text = refused(store.path, made_study(**{"recipes": ["standard", "mmr"], **change}))
    assert names(text, str(store.path), *said, "--out")
    assert snapshot(store.path) == before


def test_more_seeds_recipes_and_models_are_added_to_a_folder(store):
    more = made_study(model=["a-model", "other"], seeds=[1, 5], recipes=["mmr", "surt"])
    study = RunStore.create(store.path, more, VERSIONS).study
    assert study.model == ("a-model", "other")
    assert [seeds.label for seeds in study.seeds] == ["0", "1", "5"]
    assert list(study.recipes) == ["standard", "mmr", "surt"]
    assert len(store.records()) == 4


def test_a_folder_with_other_things_in_it_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert names(refused(tmp_path, made_study()), str(tmp_path), "empty", "--out")
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_an_empty_folder_is_taken(tmp_path):
    assert RunStore.create(tmp_path, made_study(), VERSIONS).study == made_study()


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    assert names(refused(file, made_study()), f"{file} ", "file", "--out", "folder")
    assert names(refused(file / "out", made_study()), str(file / "out"), os.strerror(errno.ENOTDIR))


def test_a_folder_that_cannot_be_written_into_is_named(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    assert names(refused(tmp_path, made_study()), str(tmp_path), os.strerror(errno.EROFS))


def test_a_full_disk_leaves_no_part_of_a_run(tmp_path, monkeypatch):
    study = made_study()
    store = made_store(tmp_path / "out", made_study(seeds=1))
    before = sorted(os.listdir(store.path / "runs"))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    spec = made_specs(study)[1]
    with pytest.raises(UserError, match=says(str(store.path), os.strerror(errno.ENOSPC))):
        store.write(made_record(spec), made_arrays(spec))
    assert sorted(os.listdir(store.path / "runs")) == before


def test_a_folder_without_a_study_is_no_store(tmp_path):
    with pytest.raises(UserError, match=says(str(tmp_path), "study.yaml", "--out", "steadytune run")):
        RunStore(tmp_path)


def test_a_study_file_that_was_broken_is_named(store):
    (store.path / "study.yaml").write_text("model: [")
    with pytest.raises(UserError, match=says("study.yaml, line 1", "YAML")):
        store.records()


def change_score(folder):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "score": 0.99}))


def flip_bit(folder):
    content = bytearray((folder / "arrays.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "arrays.safetensors").write_bytes(content)


def cut_arrays(folder):
    (folder / "arrays.safetensors").write_bytes((folder / "arrays.safetensors").read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change_score, ["run.json", "checksum"]),
        (lambda folder: (folder / "run.json").unlink(), ["run.json", "read"]),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe"), ["run.json", "read"]),
        (lambda folder: (folder / "run.json").write_text(""), ["run.json", "read"]),
        (flip_bit, ["arrays.safetensors", "checksum"]),
        (cut_arrays, ["arrays.safetensors", "checksum"]),
        (lambda folder: (folder / "arrays.safetensors").unlink(), ["arrays.safetensors", "read", "No such file"]),
    ],
)
def test_a_corrupted_run_is_named_with_the_command_that_redoes_it(store, damage, said):
    run_id = store.records()[1].spec.id
    damage(store.path / "runs" / run_id)
    wrong, remedy = corrupted(store.cohorts)
    assert names(wrong, run_id, str(store.path), *said)
    run = ["steadytune", "run", str(store.path / "study.yaml"), "--out", str(store.path), "--retry-failed"]
    assert command(remedy) == run


@pytest.mark.filterwarnings("ignore::steadytune.errors.FolderWarning")
@pytest.mark.parametrize("damage", [change_score, flip_bit])
def test_a_damaged_run_is_left_out_and_all_others_are_read(store, damage):
    whole = store.cohort("mmr")
    run_id = store.records()[0].spec.id
    damage(store.path / "runs" / run_id)
    read = RunStore(store.path)
    standard, mmr = read.cohorts()
    assert standard.seeds == ("1",)
    np.testing.assert_array_equal(mmr.logits, whole.logits)
    assert [record.spec.id for record in read.records()] == [record.spec.id for record in store.records()[-3:]]
    (said,) = read.skipped
    assert run_id in said


def leave_out(store, example):
    """Add a run that leaves an example out of the first one, and return its folder."""
    spec = store.records()[0].spec.model_copy(update={"left_out": example})
    store.write(made_record(spec), made_arrays(spec))
    return store.path / "runs" / spec.id


def test_runs_without_an_example_are_not_even_read_among_the_records(store, monkeypatch):
    expected = store.records()
    for example, damage in enumerate((flip_bit, change_score, lambda folder: None)):
        damage(leave_out(store, example))
    read, parse = [], RunRecord.from_json
    monkeypatch.setattr(RunRecord, "from_json", lambda text: read.append(text) or parse(text))
    assert RunStore(store.path).records() == expected
    assert len(read) == len(expected)


def test_what_is_damaged_in_a_folder_of_runs_without_an_example_is_redone_by_theory_loo(store):
    damaged, whole = leave_out(store, 3), store.records()[0].spec.id
    change_score(damaged)
    with pytest.raises(UserError, match=says(damaged.name, "theory loo")) as raised:
        store.record(damaged.name)
    assert "--retry-failed" not in str(raised.value)
    flip_bit(store.path / "runs" / whole)
    wrong, remedy = corrupted(store.cohorts)
    assert whole in wrong
    assert "theory loo" in remedy


def test_a_name_that_looks_like_a_left_out_example_leaves_nothing_out(tmp_path):
    store = made_store(tmp_path / "out", made_study(recipes={'"left_out": 3': {}}))
    assert len(store.records()) == 2
    assert "--retry-failed" in store.retry


@pytest.mark.filterwarnings("ignore::steadytune.errors.FolderWarning")
def test_what_failed_or_is_damaged_is_forgotten_to_be_trained_again_and_nothing_else(tmp_path):
    study = made_study(seeds=5)
    store = made_store(tmp_path / "out", study)
    specs = made_specs(study)
    for spec, status in zip(specs[:2], ("crashed", "diverged"), strict=True):
        shutil.rmtree(store.path / "runs" / spec.id)
        store.write(made_record(spec, status=status, reason="FileExistsError", score=None), {})
    flip_bit(store.path / "runs" / specs[2].id)
    # Whole, but of a version to come.
    later = store.path / "runs" / specs[3].id / "run.json"
    content = {**json.loads(later.read_text()), "format": 99}
    del content["sha256"]
    later.write_text(json.dumps(files.sealed(content)))
    store.forget_failed(spec.id for spec in specs[:4])
    assert [spec.id in store for spec in specs] == [False, False, False, True, True]
    assert len(os.listdir(store.path / "runs")) == 2


def test_runs_that_another_process_trains_are_not_forgotten(tmp_path):
    study = made_study(seeds=1)
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    (spec,) = made_specs(study)
    with store.claim(spec.id):
        store.write(made_record(spec, status="crashed", score=None), {})
        store.forget_failed([spec.id])
    assert spec.id in store


def test_runs_of_one_name_that_were_trained_in_two_ways_are_no_cohort(tmp_path):
    store = made_store(tmp_path / "out", made_study(seeds=[0]))
    other = made_store(tmp_path / "other", made_study(seeds=[1], training={"epochs": 9}))
    (run,) = (other.path / "runs").iterdir()
    shutil.copytree(run, store.path / "runs" / run.name)
    with pytest.raises(UserError, match=says("training.epochs", "'standard'")):
        store.cohorts()


def test_the_command_survives_a_path_with_spaces_and_quotes(tmp_path):
    store = made_store(tmp_path / "it's $HOME")
    folder = store.path / "runs" / store.records()[0].spec.id
    (folder / "run.json").unlink()
    _, remedy = corrupted(store.records)
    assert command(remedy)[4:] == [str(store.path), "--retry-failed"]


def test_a_run_under_another_name_is_corrupted_under_that_name(store):
    run_id = store.records()[0].spec.id
    other = "0" * 16
    (store.path / "runs" / run_id).rename(store.path / "runs" / other)
    said, remedy = corrupted(store.records)
    assert names(said, other, "run.json", run_id)
    assert remedy.endswith(str(store.path / "runs" / other))
    assert "steadytune run" not in remedy


def test_a_stray_folder_is_named_and_left_out(store):
    (store.path / "runs" / "old runs").mkdir()
    with pytest.warns(FolderWarning, match="old runs"):
        assert len(store.records()) == 4
    assert len(store.cohorts()) == 2


def test_a_folder_like_that_of_a_run_is_said_to_be_removed(store):
    (store.path / "runs" / ("e" * 16)).mkdir()
    said, _ = corrupted(store.records)
    assert names(said, "e" * 16, "run.json", str(store.path / "runs" / ("e" * 16)))


@pytest.mark.filterwarnings("ignore::steadytune.errors.FolderWarning")
@pytest.mark.parametrize("damage", [change_score, flip_bit])
def test_a_folder_of_damaged_runs_alone_says_so(store, damage):
    for folder in (store.path / "runs").iterdir():
        damage(folder)
    with pytest.raises(UserError, match=says(str(store.path), "steadytune run", "--retry-failed")):
        store.cohorts()


@pytest.mark.parametrize("name", ["runs", "examples", "cache", "claims"])
def test_a_file_in_the_place_of_a_folder_is_named(name, tmp_path):
    RunStore.create(tmp_path, made_study(), VERSIONS)
    (tmp_path / name).write_text("x")
    assert names(refused(tmp_path, made_study()), str(tmp_path / name), "file")


def test_what_the_desktop_leaves_in_a_folder_is_no_run(store):
    (store.path / "runs" / ".DS_Store").write_text("x")
    (store.path / "runs" / "notes.txt").write_text("x")
    (store.path / "runs" / ".0000-half").mkdir()
    assert len(store.records()) == 4


def test_a_run_is_claimed_by_one_at_a_time_and_never_when_it_is_there(store):
    with store.claim("0" * 16) as first, store.claim("0" * 16) as second, store.claim("1" * 16) as other:
        assert (first, second, other) == (True, False, True)
    with store.claim("0" * 16) as again:
        assert again
    with store.claim(store.records()[0].spec.id) as there:
        assert not there


def test_a_run_that_is_there_is_never_written_over(store):
    first = store.records()[0]
    before = (store.path / "runs" / first.spec.id / "run.json").read_bytes()
    # Two processes that trained one run would not both go on: the rename of the second is refused.
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        store.write(made_record(first.spec, score=0.5), made_arrays(first.spec))
    assert (store.path / "runs" / first.spec.id / "run.json").read_bytes() == before
    assert not [name for name in os.listdir(store.path / "runs") if name.startswith(".")]


def test_a_claim_falls_back_when_its_holder_raises(store):
    with pytest.raises(RuntimeError), store.claim("0" * 16):
        raise RuntimeError
    with store.claim("0" * 16) as again:
        assert again


def test_what_a_killed_process_left_of_a_run_is_gone_when_the_run_is_there(tmp_path):
    study = made_study()
    store = RunStore.create(tmp_path / "out", study, VERSIONS)
    spec = made_specs(study)[0]
    half = store.path / "runs" / f".{spec.id}-abc"
    half.mkdir(parents=True)
    (half / "arrays.safetensors").write_bytes(b"half")
    store.write(made_record(spec), made_arrays(spec))
    assert os.listdir(store.path / "runs") == [spec.id]


def _pipe(file):
    file.unlink()
    os.mkfifo(file)


def test_a_pipe_in_the_place_of_a_file_is_damage_and_hangs_nothing(store):
    first, second, *rest = sorted((store.path / "runs").iterdir())
    _pipe(first / "run.json")
    _pipe(second / "arrays.safetensors")
    with pytest.warns(FolderWarning):
        cohorts = store.cohorts()
    assert sum(map(len, cohorts)) == len(rest)
    assert {record.spec.id for record in store.records()} == {folder.name for folder in rest}
    (file,) = (store.path / "examples").iterdir()
    _pipe(file)
    with pytest.raises(UserError, match=says(file.name, "steadytune run")):
        store.cohorts()
