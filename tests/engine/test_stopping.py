import os
import signal

import pytest

from tpr.engine.stopping import Stopping


def test_a_signal_is_noted_and_ends_the_run_when_the_step_is_done(tmp_path):
    with pytest.raises(SystemExit) as caught, Stopping() as stopping:
        assert not stopping.is_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.is_asked()
        stopping.leave(tmp_path / "last.pt", 3)
    assert caught.value.code == 128 + signal.SIGTERM


def test_a_second_signal_is_obeyed_at_once():
    with pytest.raises(SystemExit) as caught, Stopping():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert caught.value.code == 128 + signal.SIGINT


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stopping():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
