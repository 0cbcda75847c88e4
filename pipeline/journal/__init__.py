"""The record of runs, steps and calls, and the leases without which it cannot be written."""
