"""gradio components of the real WebUI that scripts use."""

from __future__ import annotations

from typing import Any

import gradio as gr


class FormComponent:
    def get_expected_parent(self) -> Any:
        return gr.components.Form


class ToolButton(FormComponent, gr.Button):
    """A small button, for a single symbol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        classes = kwargs.pop("elem_classes", [])
        super().__init__(*args, elem_classes=["tool", *classes], **kwargs)

    def get_block_name(self) -> str:
        return "button"


class FormRow(FormComponent, gr.Row):
    def get_block_name(self) -> str:
        return "row"


class FormColumn(FormComponent, gr.Column):
    def get_block_name(self) -> str:
        return "column"


class InputAccordion(gr.Checkbox):
    """An accordion that is also an input: true while it is open."""

    global_index = 0

    def __init__(self, value: bool, **kwargs: Any) -> None:
        self.accordion_id = kwargs.get("elem_id")
        if self.accordion_id is None:
            self.accordion_id = f"input-accordion-{InputAccordion.global_index}"
            InputAccordion.global_index += 1
        super().__init__(value, **{**kwargs, "elem_id": f"{self.accordion_id}-checkbox", "visible": False})
        self.change(
            fn=None,
            _js=f"(checked) => {{ inputAccordionChecked('{self.accordion_id}', checked); }}",
            inputs=[self],
        )
        self.accordion = gr.Accordion(
            label=kwargs.get("label", "Accordion"),
            elem_id=self.accordion_id,
            elem_classes=["input-accordion"],
            open=value,
        )

    def extra(self) -> gr.Column:
        """A place inside the accordion's label."""
        return gr.Column(
            elem_id=f"{self.accordion_id}-extra", elem_classes="input-accordion-extra", min_width=0
        )

    def __enter__(self) -> InputAccordion:
        self.accordion.__enter__()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        self.accordion.__exit__(exc_type, exc_val, exc_tb)

    def get_block_name(self) -> str:
        return "checkbox"
