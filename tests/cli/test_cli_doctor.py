import re

import yaml
from commands import command, refused
from saying import names
from transformers import TrainingArguments


def test_a_study_is_judged_in_plain_words_with_sources(tiny_model, tiny_task, tmp_path):
    file = tmp_path / "study.yaml"
    content = {"model": str(tiny_model), "task": str(tiny_task), "recipes": ["standard", "no_warmup"]}
    file.write_text(yaml.safe_dump({**content, "training": {"learning_rate": 1e-3}}))

    result = command("doctor", file)

    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert names(lines[0], str(file), "5")
    assert any(names(line, "* ", "learning rate", "(standard, no_warmup)") for line in lines)
    assert any(names(line, "* ", "warm-up", "(no_warmup)") for line in lines)
    assert any(line.endswith("0.001, 2 blocks") for line in lines)
    headings = [line.split(" - ")[0] for line in lines if line[:4].isupper()]
    assert headings[:2] == ["HIGH", "MEDIUM"]
    assert headings[-1].startswith("WORTH TRYING")
    assert "steadytune run ... --recipe standard --recipe llrd" in result.out
    assert all(len(line) <= 110 or " " not in line.strip() for line in lines)


def test_a_study_without_fault_has_nothing_to_mend(tiny_model, tmp_path):
    file = tmp_path / "study.yaml"
    task = {"name": "acceptability", "validation_examples": 4900}
    file.write_text(yaml.safe_dump({"model": str(tiny_model), "task": task, "seeds": 10, "training": {"epochs": 20}}))
    lines = command("doctor", file).out.splitlines()
    assert lines[0].startswith(str(file))
    assert not re.search(r"\d", lines[0].removeprefix(str(file)))
    assert all(line.startswith("  acceptability: ") for line in lines[1:])
    assert "4900 measured" in lines[1]


def test_a_task_that_cannot_be_used_is_the_first_finding_and_the_exit_code(tiny_model, tmp_path):
    label_in_input = "title,text,label\n" + "".join(f"class {n % 2},text {n},{n % 2}\n" for n in range(40))
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text(label_in_input)
    file = tmp_path / "study.yaml"
    for task, said in ((tmp_path, "--set task.columns='[text]'"), (tmp_path / "nowhere", "folder")):
        file.write_text(yaml.safe_dump({"model": str(tiny_model), "task": str(task)}))
        result = command("doctor", file)
        assert result.code == 2
        assert "task" in next(line for line in result.out.splitlines() if line[:2] == "* ")
        assert said in " ".join(result.out.split())
        assert "NOT KNOWN" not in result.out
        assert "No finding" not in result.out


def test_the_arguments_of_a_script_are_judged(tmp_path):
    file = tmp_path / "args.json"
    file.write_text(TrainingArguments(output_dir=str(tmp_path), gradient_accumulation_steps=4).to_json_string())

    result = command("doctor", file)

    assert result.code == 0
    assert any(names(line, "* ", "accumulation", "(args.json)") for line in result.out.splitlines())
    assert names(result.out, "NOT KNOWN\n- ", "model")
    assert "st.StableTrainer(..., stabilizers=[st.LLRD()])" in result.out
    assert "steadytune run" not in result.out


def test_recorded_runs_are_judged(tiny_model, tiny_task, tmp_path):
    out = tmp_path / "out"
    words = ["--model", tiny_model, "--task", tiny_task, "--seeds", 2, "--workers", 1, "--set", "training.epochs=2"]
    # At a rate of almost nothing every run stays where it started: at chance, with all its gradients.
    assert command("run", *words, "--set", "training.learning_rate=1e-30", "--out", out).code == 0

    result = command("doctor", out)

    assert result.code == 0
    assert any(names(line, "* ", "collapsed", "(standard)") for line in result.out.splitlines())
    assert names(result.out, "gradients", "vanished", "gradients", "vanished")


def test_what_is_no_target_is_refused(tmp_path):
    assert names(refused("doctor", tmp_path / "nothing"), "file or folder", str(tmp_path / "nothing"))
    assert names(refused("doctor", tmp_path), str(tmp_path), "no study.yaml")
    for name, content, said in (
        ("broken.json", "{", ("JSON",)),
        ("other.json", "{}", ("TrainingArguments",)),
        ("huge.json", f'{{"learning_rate": {"9" * 400}, "num_train_epochs": 3}}', ("learning_rate", "number")),
        ("training_args.bin", "x", ("pickle",)),
        ("study.yaml", "model: [", ("YAML",)),
        ("text.yaml", "just words", ("mapping",)),
        ("half.yaml", "model: minilm", ("task:", "missing")),
    ):
        (tmp_path / name).write_text(content)
        assert names(refused("doctor", tmp_path / name), str(tmp_path / name), *said)
