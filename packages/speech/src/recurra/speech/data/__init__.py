"""Training and test data: fetch the sound packages, cut them into clips, mix speech with noise."""
