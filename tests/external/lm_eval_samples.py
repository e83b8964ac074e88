"""Samples of lm-evaluation-harness, in the form in which version 0.4.13 writes them."""

import json

import numpy as np

STAMPS = ["2026-01-05T10-00-00.111111", "2026-01-05T11-00-00.222222", "2026-01-05T12-00-00.333333"]


def line(doc, requests, answers, target, scores, part="none", shots=""):
    """Return one line of samples: of each request its arguments, and what the filter made of its answers."""
    return {
        "doc_id": doc,
        "doc": {"number": doc},
        "target": str(target),
        "arguments": {f"gen_args_{at}": {"arg_0": shots + one[0], "arg_1": one[1]} for at, one in enumerate(requests)},
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": part,
        "metrics": list(scores),
        "doc_hash": f"doc {doc}",
        "prompt_hash": f"prompt {shots}{doc}",
        "target_hash": f"target {target}",
        **scores,
    }


def choice(doc, likelihoods, target, right, choices=None, **scores):
    """Return a line of a multiple choice, whose accuracy is recorded as `right`."""
    choices = choices or [f"answer {doc} {at}" for at in range(len(likelihoods))]
    requests = [(f"question {doc}", f" {text}") for text in choices]
    answers = [[str(value), "False"] for value in likelihoods]
    return line(doc, requests, answers, target, {"acc": right, **scores})


def written(doc, text, target, right, part="none", **scores):
    """Return a line of a generation."""
    requests = [(f"question {doc}", {"until": ["\n"], "do_sample": False})]
    return line(doc, requests, [text], target, {"exact_match": right, **scores}, part)


def save(folder, runs, task="quiz", stamps=STAMPS):
    """Write a folder for every run, as `--output_path FOLDER/seedN` does for a model named model."""
    files = []
    for seed, rows in enumerate(runs):
        place = folder / f"seed{seed}" / "model"
        place.mkdir(parents=True, exist_ok=True)
        files.append(place / f"samples_{task}_{stamps[seed]}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


# Likelihoods of 3 runs, 4 documents, 3 choices; right are 0, 2, 1, 1.
LIKELIHOODS = np.log(
    [
        [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]],
        [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1]],
        [[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.3, 0.6, 0.1]],
    ]
)
GOLDS = [0, 2, 1, 1]
PREDICTED = LIKELIHOODS.argmax(axis=-1)
RIGHT = (PREDICTED == GOLDS).astype(float)
ACCURACIES = [3 / 4, 1, 2 / 4]


def quiz(run, **changes):
    return [choice(doc, LIKELIHOODS[run, doc], GOLDS[doc], RIGHT[run, doc], **changes) for doc in range(4)]
