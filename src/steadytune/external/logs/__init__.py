"""Logs of evaluation harnesses: what a language model answered to every example of a task."""

from steadytune.external.logs.log import Example, Log
from steadytune.external.logs.places import RESULTS_ALONE, logs_in, natural, plain_stem
from steadytune.external.logs.together import settled, tasks_of

__all__ = ["RESULTS_ALONE", "Example", "Log", "logs_in", "natural", "plain_stem", "settled", "tasks_of"]
