"""A process that gives the command line mutated files and says which of them it did not take as it should.

Trainings are left out: what stands in for them fails every run at once. Memory has a limit, and so has the time of each
command, which is there for what hangs.
"""

import json
import random
import resource
import shutil
import signal
import sys
import traceback
import types
from pathlib import Path

SECONDS = 60
MEMORY = 2 * 2**30

TOKENS = [
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b"\r", b"\n", b"\t", b'"', b"'", b",", b";", b":"),
    *(b"{", b"}", b"[", b"]", b"- ", b"? ", b"&a ", b"*a", b"<<: *a", b"=1+1", b"\xe2\x80\xae", b"label"),
    *(b"1e999", b"nan", b"-1", b"NaN", b"null", b"true", b"1_0", b"9" * 40, b"1" * 5000, b"0x10"),
    *(b"[" * 3000, b'{"a":' * 3000, b"!!python/object/apply:os.system [x]"),
]
STUDIES = [
    "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nseeds: [*b, *b, *b, *b, *b, *b]\n",
    "seeds: &s [*s]\n",
    "seeds: 100000000\n",
    f"seeds: {'9' * 40}\n",
    "seeds: {vary: [init, order, dropout, data], values: 100}\n",
    "recipes: {x: {stabilizers: [{mhloss: {heads: 1000000000}}]}}\n",
    "training: {threads: 1000000000}\n",
    "training: {epochs: 1, epochs: 2}\n",
    "recipes: {'': {}}\n",
    "recipes: {'\\e[31m': {}}\n",
    f"recipes: {{{'x' * 5000}: {{}}}}\n",
    "recipes: {1: {}, null: {}, true: {}}\n",
    "? [a, b]\n: 1\n",
    "seeds: 2020-01-01\n",
    "seeds: !!set {a, b}\n",
    "model: !!binary aGVsbG8=\n",
    "recipes: [[[]]]\n",
    "training: []\n",
]


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Return content with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(content) + 1)
        end = min(len(content), place + rng.randint(1, 20))
        kind = rng.randrange(5)
        if kind == 0 and place < len(content):
            content = content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + content[end:]
        elif kind == 2:
            content = content[:place] + rng.choice(TOKENS) + content[place:]
        elif kind == 3:
            content = content[:end] + content[place:]
        else:
            content = content[:place] if rng.random() < 0.3 else content[:place] + rng.choice(TOKENS) + content[end:]
    return content


def stand_in_for_training() -> None:
    from made_runs import made_record

    def train(specs, cache, progress):
        return [(made_record(spec, status="crashed", reason="not trained", score=None), {}) for spec in specs]

    for name, attribute, value in (("run", "train", train), ("fitting", "check_methods", lambda specs: None)):
        module = types.ModuleType(f"steadytune.training.{name}")
        setattr(module, attribute, value)
        sys.modules[module.__name__] = module


class Hangs(BaseException):
    """A command takes too long."""


def _hang(number, frame):
    raise Hangs


def limits() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, _hang)


def tried(codes: set[int], *words: object) -> str:
    """Run a command; return what is wrong with how it ended, or nothing."""
    from commands import command

    signal.alarm(SECONDS)
    try:
        result = command(*words)
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    if result.code not in codes:
        return f"exit code {result.code}: {result.err[-2000:]}"
    if "Traceback" in result.err:
        return result.err
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in result.out + result.err):
        return f"a control character in {result.out!r} {result.err!r}"
    if result.code == 2 and not any(line.startswith("error: ") for line in result.err.splitlines()):
        return f"no error in {result.err!r}"
    return ""


def study_files(rng: random.Random, folder: Path, parts: dict[str, Path]) -> str:
    whole = f"model: {parts['model']}\ntask: {parts['task']}\nseeds: 2\ntraining: {{epochs: 1, learning_rate: 0.001}}\n"
    study = folder / "study.yaml"
    if rng.random() < 0.25:
        extra = rng.choice(STUDIES)
        kept = [line for line in whole.splitlines() if line.partition(":")[0] != extra.partition(":")[0]]
        study.write_text("\n".join(kept) + "\n" + extra)
    else:
        study.write_bytes(mutated(rng, (whole + "recipes: {standard: {}, slow: {training: {epochs: 2}}}\n").encode()))
    return tried({1, 2}, "run", study, "--out", folder / "out", "--workers", 1)


def task_folders(rng: random.Random, folder: Path, parts: dict[str, Path]) -> str:
    task = shutil.copytree(parts[rng.choice(["task", "csv", "tsv", "parquet", "gz"])], folder / "task")
    file = rng.choice(sorted(task.iterdir()))
    file.write_bytes(mutated(rng, file.read_bytes()))
    words = ["--model", parts["model"], "--task", task, "--seeds", 1, "--out", folder / "out", "--workers", 1]
    return tried({1, 2}, "run", *words)


def run_files(rng: random.Random, folder: Path, parts: dict[str, Path]) -> str:
    from steadytune.errors import UserError
    from steadytune.external import read_runs

    files = sorted((parts["files"] / rng.choice(["npz", "safetensors", "csv", "jsonl", "json", "parquet"])).iterdir())
    copies = [Path(shutil.copy(file, folder)) for file in files]
    copies[0].write_bytes(mutated(rng, copies[0].read_bytes()))
    if rng.random() < 0.1:
        return tried({0, 2}, "measure", *copies)
    signal.alarm(SECONDS)
    try:
        read_runs(copies)
    except UserError:
        pass
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return ""


def folders(rng: random.Random, folder: Path, parts: dict[str, Path]) -> str:
    store = shutil.copytree(parts["store"], folder / "store")
    file = rng.choice(sorted(path for path in store.rglob("*") if path.is_file()))
    file.write_bytes(mutated(rng, file.read_bytes()))
    return tried({0, 2}, "ls", store) or (tried({0, 2}, "report", store) if rng.random() < 0.03 else "")


KINDS = {"study": study_files, "task": task_folders, "run": run_files, "folder": folders}


def main() -> None:
    """Try mutations; arguments are a kind, the first seed, how many, the scratch folder and the parts as JSON."""
    kind, first, count, scratch, parts = sys.argv[1:]
    stand_in_for_training()
    limits()
    wrong = []
    for seed in range(int(first), int(first) + int(count)):
        folder = Path(scratch) / f"{kind}-{seed}"
        folder.mkdir()
        said = KINDS[kind](random.Random(seed), folder, {name: Path(path) for name, path in json.loads(parts).items()})
        if said:
            wrong.append(f"{kind} {seed}: {said}")
        else:
            shutil.rmtree(folder)
    print(json.dumps(wrong))


if __name__ == "__main__":
    main()
