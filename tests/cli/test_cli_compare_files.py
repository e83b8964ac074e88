"""`steadytune compare` of runs that were trained elsewhere: two files, two folders, one of each."""

import csv

import numpy as np
import pytest
from commands import command, refused
from made_runs import made_store
from saying import names

import steadytune as st

LABELS = np.arange(40) % 2


def write(path, wrong, *, order=None, ids=None, groups=None):
    """A file of a run that is wrong on some of 40 examples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answers = np.where(np.isin(np.arange(40), list(wrong)), 1 - LABELS, LABELS)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "label", "logit_0", "logit_1", *(["group"] if groups else [])])
        for row in range(40) if order is None else order:
            own = [groups[row]] if groups else []
            writer.writerow([(ids or range(40))[row], LABELS[row], 1 - answers[row], 2.0 * answers[row] - 0.5, *own])
    return path


def said(result):
    assert result.code == 0, result.err
    return " ".join(result.out.split())


def test_two_single_runs_are_compared_example_by_example(tmp_path):
    old, new = write(tmp_path / "old.csv", range(12)), write(tmp_path / "new.csv", range(10, 14))
    words = said(command("compare", old, new))
    # 10 mended, 2 spoiled: 2 (1 + 12 + 66) / 2^12 = .0386.
    for part in ("old 70.0", "new 90.0", "McNemar", "p = 0.039", "+20.0 points"):
        assert part in words
    assert names(words, "12 of 40 examples", "(30 %)", "10 ", "2 ")
    assert names(words, "recipes", "another seed")
    assert st.compare_runs(old, new).p == pytest.approx(158 / 4096)


def test_the_page_of_two_single_runs_says_the_same(tmp_path):
    old, new = write(tmp_path / "old.csv", range(12)), write(tmp_path / "new.csv", range(10, 14))
    words = said(command("compare", old, new, "--out", tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "report.html" in words
    assert names(page, "12 of 40 examples", "(30 %)", "10 ", "2 ")
    assert names(page, "recipes", "another seed")


def test_two_folders_are_recipes_that_are_named_after_them(tmp_path):
    for seed in range(6):
        write(tmp_path / "old" / f"{seed}.csv", range(seed, seed + 7 + seed % 3))
        write(tmp_path / "new" / f"{seed}.csv", range(seed, seed + 2))
    words = said(command("compare", tmp_path / "old", tmp_path / "new", "--out", tmp_path / "out"))
    assert names(words, "difference", "old")
    assert names(words, "six seeds", "accuracy 95.0")
    assert "+15.0" in words
    assert names(words, "name", "seed")
    with (tmp_path / "out" / "differences.csv").open(encoding="utf-8") as stream:
        mean = next(row for row in csv.DictReader(stream) if row["measure"] == "mean")
    assert (mean["recipe"], mean["baseline"]) == ("new", "old")
    assert float(mean["difference"]) == pytest.approx(0.15)
    (row,) = (row for row in st.compare([tmp_path / "old", tmp_path / "new"]).rows() if not row.is_baseline)
    assert row.mean_difference.value == pytest.approx(0.15)
    assert row.same_seed


def test_one_run_and_a_folder_say_where_it_lies(tmp_path):
    for seed in range(4):
        write(tmp_path / "old" / f"{seed}.csv", range(4 + seed))
    words = said(command("compare", tmp_path / "old", write(tmp_path / "new.csv", ())))
    assert names(words, "new 100.0", "four runs of old", "82.5", "90.0")
    assert names(words, "One run", "seed", "new")


def test_a_folder_of_one_file_is_a_single_run(tmp_path):
    write(tmp_path / "old" / "a.csv", range(8))
    write(tmp_path / "new" / "a.csv", range(6))
    assert names(said(command("compare", tmp_path / "old", tmp_path / "new")), "old 80.0", "new 85.0")


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    old, new = write(tmp_path / "old" / "p.csv", range(8)), write(tmp_path / "new" / "p.csv", range(6))
    assert names(said(command("compare", old, new)), "old/p 80.0", "new/p 85.0")


def test_what_cannot_be_compared_is_refused_in_a_line(tmp_path):
    one, other = write(tmp_path / "a.csv", range(8)), write(tmp_path / "b.csv", range(6))
    elsewhere = write(tmp_path / "c.csv", range(6), ids=[f"x{n}" for n in range(40)])
    study = made_store(tmp_path / "study").path
    assert names(refused("compare", one, tmp_path / "missing.csv"), "file or folder", str(tmp_path / "missing.csv"))
    assert names(refused("compare", one), str(one), "two files")
    assert names(refused("compare", one, one), str(one), "twice")
    assert "3 single runs" in refused("compare", one, other, elsewhere)
    assert names(refused("compare", one, elsewhere), "40 of 80", "x0")
    assert names(refused("compare", study, one), str(study), "study")
    assert "--baseline" in refused("compare", one, other, "--baseline", "a")
    assert names(refused("compare", study, "--metric", "f1"), "--metric", "files")
    (tmp_path / "empty").mkdir()
    assert names(refused("compare", one, tmp_path / "empty"), str(tmp_path / "empty"), "no run files")


def test_one_seed_on_both_sides_pairs_them_and_is_no_fault(tmp_path):
    for place in ("old", "new"):
        for seed in range(3):
            path = write(tmp_path / place / f"{seed}.csv", range(seed, seed + 8 - 2 * (place == "new")))
            lines = path.read_text().splitlines()
            path.write_text("\n".join([f"seed,{lines[0]}", *(f"{seed},{line}" for line in lines[1:])]))
    assert "record one seed" not in said(command("compare", tmp_path / "old", tmp_path / "new"))


def recorded(path, seeds, wrong):
    """Files 0.csv, 1.csv, ... of runs that record their seeds."""
    for number, (seed, places) in enumerate(zip(seeds, wrong, strict=True)):
        lines = write(path / f"{number}.csv", places).read_text().splitlines()
        (path / f"{number}.csv").write_text("\n".join([f"seed,{lines[0]}", *(f"{seed},{line}" for line in lines[1:])]))
    return path


def test_files_of_one_name_are_no_pairs_where_they_record_other_seeds(tmp_path):
    wrong = [range(4, 12), range(9), range(2, 8), range(5)]
    old = recorded(tmp_path / "old", [42] * 4, wrong)
    new = recorded(tmp_path / "new", [42] * 4, [range(1, 1 + len(places)) for places in wrong])
    words = said(command("compare", old, new))
    assert "pairs" in words
    assert "same seed" not in words
    assert not any(row.same_seed for row in st.compare([old, new]).rows())


def test_copies_and_turned_classes_are_said_before_the_numbers_with_their_folder(tmp_path):
    for seed in range(4):
        write(tmp_path / "old" / f"s{seed}.csv", range(seed, seed + 7))
        write(tmp_path / "new" / f"s{seed}.csv", range(40) if seed == 2 else range(seed, seed + 3))
    write(tmp_path / "old" / "s4.csv", range(3, 10))
    words = said(command("compare", tmp_path / "old", tmp_path / "new"))
    numbers = words.index("difference")
    assert names(words[:numbers], "note: old:", "s3 and s4", "identical")
    assert names(words[:numbers], "note: new:", "s2", "classes")
    assert "tested" in words[numbers:]


def test_runs_of_one_name_are_listed_in_the_order_of_their_numbers(tmp_path):
    for seed in (1, 2, 10):
        for place in ("old", "new"):
            write(tmp_path / place / f"seed{seed}.csv", range(seed, seed + 7 + (place == "new")))
    assert "seed1, seed2 and seed10" in said(command("compare", tmp_path / "old", tmp_path / "new"))
