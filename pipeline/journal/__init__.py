"""The record of runs, steps and calls, and the right to write it."""
