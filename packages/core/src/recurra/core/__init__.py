"""Kernels, streaming layers, checkpoints, training and command-line pieces that every app shares.

Nothing is imported here: `recurra-speech --help` must not pay for torch. Import what you use from
its room, for example `from recurra.core.kernels import fir`.
"""
