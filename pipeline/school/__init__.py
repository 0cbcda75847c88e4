"""Sales training: lessons, scenarios and exercises, progress charts, and example content."""
