"""Lessons, scenarios and exercises, and the examples that an installation may begin with."""
