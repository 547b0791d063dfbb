"""The table of datasets: a name in a config -> the class that reads the published files."""

from tpr.data.adapters.base import Adapter, Counts
from tpr.data.adapters.cuhk_pedes import CuhkPedes
from tpr.data.adapters.folder import Folder
from tpr.data.adapters.ham_pedes import HamPedes
from tpr.data.adapters.icfg_pedes import IcfgPedes
from tpr.data.adapters.jsonl import Jsonl
from tpr.data.adapters.llcm import Llcm
from tpr.data.adapters.luperson_mllm import LupersonMllm
from tpr.data.adapters.mals import Mals
from tpr.data.adapters.market1501 import Market1501
from tpr.data.adapters.regdb import RegDb
from tpr.data.adapters.rstpreid import RstpReid
from tpr.data.adapters.synth_pedes import SynthPedes
from tpr.data.adapters.sysu_mm01 import SysuMm01

ADAPTERS: dict[str, type[Adapter]] = {
    "cuhk_pedes": CuhkPedes,
    "icfg_pedes": IcfgPedes,
    "rstpreid": RstpReid,
    "luperson_mllm": LupersonMllm,
    "synth_pedes": SynthPedes,
    "ham_pedes": HamPedes,
    "mals": Mals,
    "sysu_mm01": SysuMm01,
    "regdb": RegDb,
    "llcm": Llcm,
    "market1501": Market1501,
    "jsonl": Jsonl,
    "folder": Folder,
}

__all__ = ["ADAPTERS", "Adapter", "Counts"]
