"""Running pipelines: their definitions, the inputs of steps, and the runner."""
