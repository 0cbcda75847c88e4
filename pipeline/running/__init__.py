"""How a run is made: the definition of its pipeline, what each step is given, and the runner."""
