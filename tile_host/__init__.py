"""The one door to the host: nothing outside this package imports `modules` or `gradio`."""
