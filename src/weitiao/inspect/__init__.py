"""Looks before we leap: at the machine, at data files, at what a run will cost."""
