"""What our adapter uses of Forge's `backend`, in our own words: the same names, order of calls and arguments, read off
Forge dfdcbab6 and run beside it. No line is Forge's."""
