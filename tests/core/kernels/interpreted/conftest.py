from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def guarded() -> Iterator[None]:
    from tests.core.kernels.interpreted.interpreter import guards  # needs Triton

    with guards():
        yield
