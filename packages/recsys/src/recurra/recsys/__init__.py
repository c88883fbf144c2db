"""Recommendations from a log of interactions, from Python or with the command `recurra-recsys`."""
