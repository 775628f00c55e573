"""A pytest plugin that writes counts and failures as they come, and ends the session after a number of seconds.

JAXDL_TESTS_FILE and JAXDL_TESTS_SECONDS set the file and the seconds. With pytest-xdist it runs in the controller.
"""

import json
import os
import time
from pathlib import Path

import pytest

SHOWN = 300  # characters of a failure's message


class Reporter:
    """The results of a session's tests."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.deadline, self.session = path, time.monotonic() + seconds, None
        self.found = {"passed": 0, "skipped": 0, "failed": [], "collected": 0, "time_was_up": False}
        self.write()

    def write(self) -> None:
        """Replace the file."""
        temporary = self.path.with_name(f"{self.path.name}.writing")
        temporary.write_text(json.dumps(self.found), encoding="utf-8")
        temporary.replace(self.path)

    def pytest_sessionstart(self, session) -> None:
        """Keep the objects that can be asked to stop."""
        self.session = session

    def pytest_collection_modifyitems(self, items) -> None:
        """Count the tests, if they are collected in this process."""
        self.found["collected"] = len(items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids) -> None:
        """Count the tests that a worker has collected; all workers collect the same."""
        self.found["collected"] = len(ids)

    def pytest_runtest_logreport(self, report) -> None:
        """Count a test at its end, or at a failure of its set-up."""
        if report.failed:
            lines = str(report.longrepr).strip().splitlines()
            said = next((line for line in reversed(lines) if line.startswith("E ")), lines[-1] if lines else "")
            self.found["failed"].append({"test": report.nodeid, "said": said[:SHOWN]})
        elif report.skipped:
            self.found["skipped"] += 1
        elif report.when == "call":
            self.found["passed"] += 1
        if time.monotonic() > self.deadline and self.session is not None:
            self.found["time_was_up"] = True
            self.session.shouldstop = "the time for tests is up"
            controller = self.session.config.pluginmanager.get_plugin("dsession")
            if controller is not None:  # pytest-xdist ignores the session's own flag
                controller.shouldstop = self.session.shouldstop
        self.write()


def pytest_configure(config) -> None:
    """Register the plugin, except in a worker of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        seconds = float(os.environ["JAXDL_TESTS_SECONDS"])
        config.pluginmanager.register(Reporter(Path(os.environ["JAXDL_TESTS_FILE"]), seconds), "on_gpu_reporter")
