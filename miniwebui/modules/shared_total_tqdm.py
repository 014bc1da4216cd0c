"""The second progress bar of the console: steps of the whole job."""

import tqdm

from modules import shared


class TotalTQDM:
    """A bar over all batches and passes; it starts with the first step after `clear`."""

    def __init__(self):
        self._tqdm: tqdm.tqdm | None = None

    def reset(self) -> None:
        self._tqdm = tqdm.tqdm(
            desc="Total progress",
            total=shared.state.job_count * shared.state.sampling_steps,
            position=1,
            file=shared.progress_print_out,
        )

    def _bar(self) -> tqdm.tqdm | None:
        if not shared.opts.multiple_tqdm or shared.cmd_opts.disable_console_progressbars:
            return None
        if self._tqdm is None:
            self.reset()
        return self._tqdm

    def update(self) -> None:
        """One more step is done."""
        if (bar := self._bar()) is not None:
            bar.update()

    def updateTotal(self, new_total: int) -> None:
        """The number of steps has become known."""
        if (bar := self._bar()) is not None:
            bar.total = new_total

    def clear(self) -> None:
        if self._tqdm is not None:
            self._tqdm.refresh()
            self._tqdm.close()
            self._tqdm = None
