"""What the environment says of other processes, and Ctrl-C."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.screen import make_environment
from tpr import processes
from tpr.errors import ConfigError
from tpr.processes import Launch, check_port, choose_start_method, is_speaker, read_launch

SCRIPT = Path(__file__).parents[1] / "scripts" / "launch.py"
WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a launch."""
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "1"},
        {"RANK": "x", "LOCAL_RANK": "7"},
        {"RANK": "1", "MASTER_ADDR": "host", "MASTER_PORT": "29500"},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1", "RANK": "3"},
        {"WORLD_SIZE": ""},
        {**WHOLE, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
    ],
    ids=str,
)
def test_a_process_that_is_alone_speaks_whatever_a_cluster_sets(
    variables: dict[str, str], environment: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert read_launch() is None
    assert is_speaker()


def test_a_whole_launch_is_read(environment: pytest.MonkeyPatch) -> None:
    for name, value in WHOLE.items():
        environment.setenv(name, value)
    assert read_launch() == Launch(1, 2, 1, "host", 29500)
    assert not is_speaker()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE=2 announces .* but RANK and MASTER_ADDR and MASTER_PORT are not set",
        ),
        ({**WHOLE, "RANK": ""}, "but RANK is not set"),
        ({**WHOLE, "RANK": "2"}, "RANK=2, LOCAL_RANK=1 and WORLD_SIZE=2 contradict each other"),
        ({**WHOLE, "RANK": "0"}, "RANK=0, LOCAL_RANK=1 and WORLD_SIZE=2 contradict each other"),
        ({**WHOLE, "RANK": "-1"}, "RANK='-1' is no whole number"),
        ({**WHOLE, "WORLD_SIZE": "two"}, "WORLD_SIZE='two' is no whole number from 1"),
        ({**WHOLE, "WORLD_SIZE": "0"}, "WORLD_SIZE='0' is no whole number from 1"),
        ({**WHOLE, "LOCAL_RANK": "1.0"}, "LOCAL_RANK='1.0' is no whole number"),
        ({**WHOLE, "MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port"),
    ],
    ids=str,
)
def test_a_launch_that_contradicts_itself_is_one_line_and_silences_nobody(
    variables: dict[str, str], message: str, environment: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigError, match=message) as caught:
        read_launch()
    assert "\n" not in str(caught.value)
    assert is_speaker()


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"MASTER_PORT={port} cannot be used"):
            check_port(port)
    check_port(port)


def test_children_start_by_forking_on_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert choose_start_method("auto") == "fork"
    monkeypatch.setattr("sys.platform", "darwin")
    assert choose_start_method("auto") == "spawn"
    assert choose_start_method("forkserver") == "forkserver"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NPROC": ""}, "tpr: NPROC='' is not known; expected a whole number from 1 or auto"),
        ({"NPROC": "0"}, "tpr: NPROC='0' is not known"),
        ({"NPROC": "2.0"}, "tpr: NPROC='2.0' is not known"),
        ({"NPROC": "2", "NNODES": "two"}, "tpr: NNODES='two' is not known; expected a whole number from 1"),
        ({"NPROC": "2", "NNODES": "2"}, "tpr: NNODES=2 needs MASTER_ADDR"),
        ({"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "a"}, "tpr: NODE_RANK=2 is not below NNODES=2"),
        ({"NPROC": "2", "MASTER_PORT": "99999"}, "tpr: MASTER_PORT=99999 is no port"),
    ],
    ids=str,
)
def test_the_launch_script_refuses_what_it_cannot_start_before_torch_is_imported(
    variables: dict[str, str], message: str, environment: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SCRIPT), "options"],
        env=make_environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(said) == 1 and said[0].startswith(message)
    assert "torch" not in done.stderr


def test_ctrl_c_during_the_imports_is_one_line() -> None:
    code = (
        "import os, signal, sys\n"
        "sys.argv = ['tpr', 'options']\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tpr.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "import runpy; runpy.run_module('tpr', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tpr: stopped by Ctrl-C\n")


def test_ctrl_c_is_ignored_where_it_was_and_raises_once_a_command_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        processes.end_at_once_on_interrupt()
        processes.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        processes.end_at_once_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        processes.raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_first_process_of_every_machine_speaks(environment: pytest.MonkeyPatch) -> None:
    for name, value in {**WHOLE, "LOCAL_RANK": "0"}.items():
        environment.setenv(name, value)
    assert is_speaker()
