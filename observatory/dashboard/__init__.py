"""The admin's first page and what else needs both apps: figures, catalogue and overrides together."""
