"""How processes meet, and what is said of those that are missing; each in a thread of one process here."""

import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tpr import meeting
from tpr.errors import ConfigError, TrainingError
from tpr.meeting import meet
from tpr.processes import Launch


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is missing is said at once."""
    monkeypatch.setattr(meeting, "SECONDS_UNTIL_SAID", 0.0)
    monkeypatch.setattr(meeting, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def place(rank: int, port: int, *, world: int = 2, address: str = "127.0.0.1") -> Launch:
    return Launch(rank, world, 0, address, port)


def test_processes_meet_whoever_comes_first_and_those_missing_are_named_meanwhile(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    said = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.set()

    logger = logging.getLogger(meeting.__name__)
    listener = Listener()
    logger.addHandler(listener)
    try:
        with ThreadPoolExecutor(2) as pool:
            later = pool.submit(meet, place(1, port), 100)
            assert said.wait(100)
            first = pool.submit(meet, place(0, port), 100)
            assert first.result(100) is not None and later.result(100) is not None
    finally:
        logger.removeHandler(listener)
    assert caplog.messages[0].startswith(
        f"still waiting for rank 0 at MASTER_ADDR=127.0.0.1, MASTER_PORT={port}"
    )


def test_a_machine_that_never_comes_is_named_while_and_after_it_is_waited_for(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        TrainingError, match=r"^waited \d+ s for ranks 1 to 3 of 4; start the same command on"
    ):
        meet(place(0, port, world=4), 0.2)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "still waiting for ranks 1 to 3 of 4"
    ]


def test_a_main_machine_that_never_comes_is_named_on_the_others(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TrainingError, match="for rank 0 at MASTER_ADDR=127.0.0.1"):
        meet(place(1, port), 0.1)
    assert {record.levelname for record in caplog.records} == {"ERROR"}, (
        "ranks but the first show errors only"
    )


def test_an_address_that_nobody_knows_is_one_line(port: int) -> None:
    with pytest.raises(ConfigError, match="MASTER_ADDR='no.such.invalid' is no machine that is known here"):
        meet(place(0, port, address="no.such.invalid"), 100)


def test_a_port_in_use_is_one_line(port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        with pytest.raises(ConfigError, match=f"MASTER_PORT={port} cannot be used on this machine"):
            meet(place(0, port), 100)


def test_machines_that_count_differently_are_refused(port: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, place(0, port), 100)
        pool.submit(meet, place(1, port, world=3), 1)
        with pytest.raises(ConfigError, match="WORLD_SIZE=3 for rank 1, but 2 for rank 0"):
            first.result(100)
