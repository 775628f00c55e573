"""What a person sees of a study: one bar over its groups of runs on a terminal, and plain lines everywhere."""

from typing import Any


class StudyProgress:
    """Counts the groups of runs that are done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.console = Console(soft_wrap=True, highlight=False)
        self._bar = Progress(console=self.console) if self.console.is_terminal else None
        self._task: Any = None

    def __enter__(self) -> "StudyProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, groups: int) -> None:
        """Show how many groups there are."""
        if self._bar is not None:
            self._task = self._bar.add_task("groups of runs", total=groups)

    def advance(self) -> None:
        """Count one group."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def line(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self.console.print(text, markup=False)
