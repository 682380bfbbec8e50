"""Reward models that transfer to a domain without labels: bindings of libdial.

    import dial
    model = dial.RewardModel("runs/toy")
    print(model.score("2+2=", ["4", "5"]))
"""
from ._library import DialError, job, version
from .model import RewardModel

__all__ = ["DialError", "RewardModel", "job", "version"]
__version__ = version()
