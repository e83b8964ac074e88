"""Describe the runs of a command."""

from __future__ import annotations

import shlex

from steadytune.analysis.comparison.compare import Comparison
from steadytune.analysis.comparison.verdict import first_notes
from steadytune.external.commands.store import CommandStore, seeds_words
from steadytune.reporting.blocks import Block, Facts, Text
from steadytune.reporting.naming import count


def command_facts(store: CommandStore, comparison: Comparison) -> list[Block]:
    """Describe what was run, what became of the runs, and what was read of them."""
    sweep, records = store.sweep, store.records()
    done = sum(record.status == "done" for record in records)
    runs = f"{done} of {count(sum(1 for _ in sweep.runs()), 'run')} finished"
    if lost := len(records) - done:
        runs += f", {lost} failed (retry with steadytune sweep --retry-failed)"
    seeds = seeds_words(sweep.seeds)
    facts = {
        "Command": shlex.join(sweep.command),
        "Folder": sweep.folder,
        "Seeds": f"0 to {int(seeds) - 1}" if seeds.isdecimal() else seeds.rstrip(","),
        **{name: ", ".join(values) for name, values in sweep.values.items()},
        "Runs": runs,
    }
    read = dict(item for found in comparison.profiles for item in found.cohort.read.items())
    notes = [*(f"left out: {why.partition(chr(10))[0]}" for why in store.skipped), *first_notes(comparison.rows())]
    return [Facts(facts), Facts(read, small=True), *(Text(note, "note") for note in notes)]
