"""The table of drawn datasets: name -> plan in the published layout."""

from collections.abc import Callable
from functools import partial

from tpr.drawn.benchmarks import CUHK_PEDES, ICFG_PEDES, RSTPREID, plan_benchmark
from tpr.drawn.corpora import plan_ham_pedes, plan_luperson_mllm, plan_mals, plan_synth_pedes
from tpr.drawn.infrared import plan_llcm, plan_regdb, plan_sysu_mm01
from tpr.drawn.plan import Plan
from tpr.drawn.reidentification import plan_market1501

Planner = Callable[[int, int], Plan]

PLANNERS: dict[str, Planner] = {
    "luperson_mllm": plan_luperson_mllm,
    "cuhk_pedes": partial(plan_benchmark, CUHK_PEDES),
    "icfg_pedes": partial(plan_benchmark, ICFG_PEDES),
    "rstpreid": partial(plan_benchmark, RSTPREID),
    "synth_pedes": plan_synth_pedes,
    "ham_pedes": plan_ham_pedes,
    "mals": plan_mals,
    "sysu_mm01": plan_sysu_mm01,
    "regdb": plan_regdb,
    "llcm": plan_llcm,
    "market1501": plan_market1501,
}
"""From the number of test identities per benchmark and the seed to the plan of one dataset."""
FOLDERS = {
    "luperson_mllm": "LUPerson-MLLM",
    "cuhk_pedes": CUHK_PEDES.folder,
    "icfg_pedes": ICFG_PEDES.folder,
    "rstpreid": RSTPREID.folder,
    "synth_pedes": "SYNTH-PEDES",
    "ham_pedes": "HAM-PEDES",
    "mals": "MALS",
    "sysu_mm01": "SYSU-MM01",
    "regdb": "RegDB",
    "llcm": "LLCM",
    "market1501": "Market-1501-v15.09.15",
}
DEFAULT_SETS = ("luperson_mllm", "cuhk_pedes", "icfg_pedes", "rstpreid")
DEFAULT_IDENTITIES = 110
