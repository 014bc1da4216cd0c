"""Showing and remembering errors, as `modules.errors` of the WebUI does."""

import logging
import sys
import textwrap
import traceback
from collections.abc import Callable

log = logging.getLogger(__name__)

exception_records: list[dict] = []
already_displayed: dict[str, int] = {}

MAX_RECORDS = 5


def format_traceback(tb) -> list[list]:
    frames = traceback.extract_tb(tb)
    return [[f"{frame.filename}, line {frame.lineno}, {frame.name}", frame.line] for frame in frames]


def format_exception(e: BaseException, tb) -> dict:
    return {"exception": str(e), "traceback": format_traceback(tb)}


def get_exceptions() -> list[dict]:
    """The last few recorded exceptions, newest first."""
    return exception_records[::-1]


def record_exception() -> None:
    """Remember the exception that is being handled, if any."""
    _, error, tb = sys.exc_info()
    if error is None:
        return
    exception_records.append(format_exception(error, tb))
    del exception_records[:-MAX_RECORDS]


def report(message: str, *, exc_info: bool = False) -> None:
    """To stderr; `exc_info`: with the traceback of the exception that is being handled."""
    record_exception()
    print(textwrap.indent(message, "*** ", lambda line: True), file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), "---", sep="\n", file=sys.stderr)


def print_error_explanation(message: str) -> None:
    """Print a boxed explanation of several lines to stderr."""
    record_exception()
    lines = message.strip().splitlines()
    rule = "=" * max(map(len, lines), default=0)
    print(rule, *lines, rule, sep="\n", file=sys.stderr)


def display(e: Exception, task, *, full_traceback: bool = False) -> None:
    """Print an exception and what was being done when it came up."""
    record_exception()
    details = traceback.TracebackException.from_exception(e)
    if full_traceback:
        callers = traceback.extract_stack()[:-2]
        details.stack = traceback.StackSummary.from_list(list(callers) + list(details.stack))
    print(f"{task or 'error'}: {type(e).__name__}", file=sys.stderr)
    print("".join(details.format()), file=sys.stderr, end="")


def display_once(e: Exception, task: str) -> None:
    """As display, but silent from the second time on."""
    record_exception()
    if task not in already_displayed:
        already_displayed[task] = 1
        display(e, task)


def run(code: Callable[[], object], task: str) -> None:
    """Run code; an exception is shown, not raised."""
    try:
        code()
    except Exception as error:
        display(error, task)
