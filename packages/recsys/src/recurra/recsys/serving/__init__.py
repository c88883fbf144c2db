"""A model behind HTTP: JSON in and out, many requests in one batch of the network."""

from recurra.recsys.serving.server import serve

__all__ = ["serve"]
