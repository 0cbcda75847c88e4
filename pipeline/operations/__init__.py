"""What operators look at, and what is done now and then: usage, attention, chores, pruning."""
