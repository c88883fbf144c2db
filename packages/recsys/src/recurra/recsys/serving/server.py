"""The process that listens."""

import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch

from recurra.core.errors import RecurraError, import_extra
from recurra.recsys.serving.limits import ServeLimits
from recurra.recsys.serving.metrics import ServiceMetrics


def serve(
    name_or_path: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServeLimits | None = None,
    threads: int = 1,
    items: Path | None = None,
    category: str = "category",
    use_index: bool = True,
    tell: Callable[[str], object] = print,
) -> None:
    """Answer over HTTP until the process is told to stop; requests in work are answered first.

    Args:
        name_or_path: a model folder, or an id of the Hugging Face Hub.
        host: the address to listen at; anything but loopback is open to whoever reaches it.
        port: 0 takes one that is free.
        limits: of requests.
        threads: of torch; more than one pays for large models only.
        items: a table of items, by whose categories requests may limit their lists.
        category: its column.
        use_index: look for lists in the index that the folder holds, if it holds one.
        tell: is given the address, once requests can come.

    Raises:
        RecurraError: the model or the table cannot be loaded, or the port not be had.
        MissingExtraError: fastapi or uvicorn, or faiss for an index, is not installed.
    """
    for module in ("fastapi", "uvicorn"):
        import_extra(module, extra="serve", package="recurra-recsys")
    import uvicorn

    from recurra.recsys.serving.app import create_service_app
    from recurra.recsys.serving.service import Service

    torch.set_num_threads(threads)
    limits, metrics = limits or ServeLimits(), ServiceMetrics()
    options = {"use_index": use_index, "max_users": limits.users}
    service = Service(name_or_path, metrics, items, category, **options)
    app = create_service_app(service, metrics, limits)
    with _listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        tell(f"serving {name_or_path} at http://{shown}:{listening.getsockname()[1]}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=round(limits.seconds) + 1,
        )
        # The 200,000 objects of the libraries and the model stay: looked through now and then for
        # what may go, they would hold up all who wait for tenths of a second.
        gc.collect()
        gc.freeze()
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise RecurraError(
            f"cannot listen at {host}:{port}: {reason}; give another --host or --port"
        ) from error
