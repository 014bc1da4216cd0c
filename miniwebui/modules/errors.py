"""Showing errors, as `modules.errors` of the WebUI does."""

import sys
import textwrap
import traceback


def report(message: str, *, exc_info: bool = False) -> None:
    """To stderr; `exc_info`: with the traceback of the exception that is being handled."""
    print(textwrap.indent(message, "*** ", lambda line: True), file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), "---", sep="\n", file=sys.stderr)


def display(e: Exception, task, *, full_traceback: bool = False) -> None:
    """Print an exception and what was being done when it came up."""
    details = traceback.TracebackException.from_exception(e)
    if full_traceback:
        callers = traceback.extract_stack()[:-2]
        details.stack = traceback.StackSummary.from_list(list(callers) + list(details.stack))
    print(f"{task or 'error'}: {type(e).__name__}", file=sys.stderr)
    print("".join(details.format()), file=sys.stderr, end="")
