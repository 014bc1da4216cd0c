"""What the running job is doing, and the requests of the user to stop it."""

import datetime
import logging
import time

from modules import devices, errors, shared

log = logging.getLogger(__name__)


class State:
    """Progress of the current job. `job_count` −1 means that the job has not said its number of batches."""

    skipped = False
    interrupted = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent = None
    current_image = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo: str | None = None
    time_start: float | None = None
    server_start: float | None = None

    def __init__(self):
        self.server_start = time.time()

    def skip(self) -> None:
        """Ask to leave the current batch, with what is drawn so far."""
        self.skipped = True

    def interrupt(self) -> None:
        """Ask to leave the job at the next step, with what is drawn so far."""
        self.interrupted = True

    def stop_generating(self) -> None:
        """Ask to leave the job after the current batch."""
        self.stopping_generation = True

    def nextjob(self) -> None:
        """A batch (or one of the two passes of hires fix) is done."""
        if shared.opts.live_previews_enable and shared.opts.show_progress_every_n_steps == -1:
            self.do_set_current_image()
        self.job_no += 1
        self.sampling_step = 0
        self.current_image_sampling_step = 0

    def dict(self) -> dict:
        names = (
            "skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no",
            "sampling_step", "sampling_steps",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def begin(self, job: str = "(unknown)") -> None:
        """Start a job: every count and request goes back to its start."""
        self.skipped = self.interrupted = self.stopping_generation = False
        self.sampling_step = self.job_no = 0
        self.current_image_sampling_step = self.id_live_preview = 0
        self.current_latent = self.current_image = self.textinfo = None
        self.job_count = -1
        self.processing_has_refined_job_count = False
        self.time_start = time.time()
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.job = job
        devices.torch_gc()
        log.info("Begun: %s", job)

    def end(self) -> None:
        log.info("Done: %s, %.2f seconds", self.job, time.time() - (self.time_start or time.time()))
        self.job = ""
        self.job_count = 0
        devices.torch_gc()

    def set_current_image(self) -> None:
        """Make a preview, if the steps that the settings ask for have passed since the last one."""
        interval = shared.opts.show_progress_every_n_steps
        if not shared.parallel_processing_allowed or not shared.opts.live_previews_enable or interval == -1:
            return
        if self.sampling_step - self.current_image_sampling_step >= interval:
            self.do_set_current_image()

    def do_set_current_image(self) -> None:
        """Make a preview of `current_latent` now."""
        if self.current_latent is None:
            return

        from modules import sd_samplers

        try:
            if shared.opts.show_progress_grid:
                self.assign_current_image(sd_samplers.samples_to_image_grid(self.current_latent))
            else:
                self.assign_current_image(sd_samplers.sample_to_image(self.current_latent))
            self.current_image_sampling_step = self.sampling_step
        except Exception as error:
            # a preview may come while the checkpoint is being changed; the generation must not suffer
            errors.display(error, "drawing a preview")

    def assign_current_image(self, image) -> None:
        if shared.opts.live_previews_image_format == "jpeg" and image.mode in ("RGBA", "P"):
            image = image.convert("RGB")
        self.current_image = image
        self.id_live_preview += 1
