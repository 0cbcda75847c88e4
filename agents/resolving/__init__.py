"""How the resolver learns of changes: its thread, its looks, its subscription."""
