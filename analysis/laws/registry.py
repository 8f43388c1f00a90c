"""The table of laws by name: a new law is a class in a file of this folder and a row here."""

from typing import Literal

from analysis.laws.broken import BrokenPower
from analysis.laws.coupled import Coupled, Kaplan
from analysis.laws.data_constrained import DataConstrained
from analysis.laws.law import Law
from analysis.laws.power import Chinchilla, ComputeLaw

LawName = Literal["compute", "chinchilla", "kaplan", "gamma", "broken", "data-constrained"]
LAWS: dict[LawName, Law] = {
    "compute": ComputeLaw(),
    "chinchilla": Chinchilla(),
    "kaplan": Kaplan(),
    "gamma": Coupled(),
    "broken": BrokenPower(),
    "data-constrained": DataConstrained(),
}
