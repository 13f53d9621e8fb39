"""Readers of ReDial, INSPIRED and Reddit-Movie into one schema of turns, mentions and cases."""

from rar_pipeline.conversations import inspired, reddit, redial

READERS = {"redial": redial.read, "inspired": inspired.read, "reddit": reddit.read}
