"""What our adapter uses of reForge's `ldm_patched`, in our own words: the same names, order of calls and arguments,
read off reForge 3b56b268 and run beside it. No line is reForge's."""
