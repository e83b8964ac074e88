"""Logs of evaluation harnesses: what a language model answered to every example of a task."""

from steadytune.external.logs.places import logs_in, natural, place_of, plain_stem
from steadytune.external.logs.together import of_one_folder, settled, tasks_of

__all__ = ["logs_in", "natural", "of_one_folder", "place_of", "plain_stem", "settled", "tasks_of"]
