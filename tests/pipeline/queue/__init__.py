"""Tests of the queue: one contract, and each engine that is held to it."""
