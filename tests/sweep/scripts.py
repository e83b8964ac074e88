"""Scripts of users, as the tests of sweeps run them: pure Python, nothing to import, a CSV file of predictions."""

import sys
from textwrap import dedent

# What every script begins with: its words are --seed S --output FOLDER and whatever a test adds.
_HEAD = """
import os, random, sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
seed, out = int(words["--seed"]), words.get("--output")

def predict(path=None, wrong=0.2, draw=None):
    labels, own = random.Random(0), random.Random(seed if draw is None else draw)
    with open(path or f"{out}/predictions.csv", "w") as file:
        file.write("id,label,prediction\\n")
        for row in range(40):
            label = int(labels.random() < 0.5)
            file.write(f"{row},{label},{label if own.random() > wrong else 1 - label}\\n")
"""


def script(folder, body="predict()", name="train.py"):
    """Write a script and return its path."""
    path = folder / name
    path.write_text(_HEAD + dedent(body), encoding="utf-8")
    return path


def words_of(path, *more):
    """Return the command that runs a script."""
    return [sys.executable, str(path), "--seed", "{seed}", "--output", "{out}", *map(str, more)]
