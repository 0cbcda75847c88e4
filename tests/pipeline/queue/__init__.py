"""Tests of the queue: one contract, and each backend that is held to it."""
