"""The tests of the Triton kernels are there where Triton is: PyTorch brings it on Linux only."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["test_triton.py", "test_triton_compiled.py"]
