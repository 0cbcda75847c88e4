"""What operators look at, and what is done now and then: figures, attention, chores, pruning."""
