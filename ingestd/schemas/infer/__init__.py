"""A schema from samples: evidence per path in one pass, decisions at the end, and a check that nothing is lost.

inferer = Inferer("Custom.Shop.Orders")
inferer.start("orders.jsonl", first_records)
inferer.add(ordinal, record)
result = inferer.finish()  # result.yaml
"""

from ingestd.schemas.infer.decide import Field
from ingestd.schemas.infer.inferer import Inference, Inferer

__all__ = ["Field", "Inference", "Inferer"]
