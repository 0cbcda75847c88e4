"""Usage, alerts, periodic jobs and pruning."""
