"""Speech: clean a noisy recording, from Python or with the command `recurra-speech`."""
