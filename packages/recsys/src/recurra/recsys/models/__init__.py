"""Networks that predict the next item of a history."""

from recurra.recsys.models.bert4rec import Bert4Rec, Bert4RecConfig

__all__ = ["Bert4Rec", "Bert4RecConfig"]
