"""Which files of queries the words of a command line name, and what is shown for want of one."""

from pathlib import Path

from tpr.engine.run_folder import QUERIES_FILE
from tpr.errors import DataError
from tpr.evaluation.query_table import QUERIES_SUFFIX, QueryTable, RowLabel, read_queries
from tpr.report.runs import locate_run


def read_queries_of(path: Path) -> dict[RowLabel, QueryTable]:
    """The queries of a run, by its folder or a file in it, or those of a file of queries.

    Raises ConfigError where there is no run, DataError where it has kept no queries or the file is damaged.
    """
    file = path if path.suffix == QUERIES_SUFFIX and path.is_file() else locate_run(path) / QUERIES_FILE
    if not file.exists():
        raise DataError(
            f"{file}: no such file; a run writes it at its end, and for one that has ended "
            f"`tpr evaluate {file.parent / 'best.pt'} --queries {file}` does"
        )
    found = read_queries(file)
    if not found:
        raise DataError(f"{file}: no queries in it; measure a dataset first, with data.test=[NAME]")
    return found
