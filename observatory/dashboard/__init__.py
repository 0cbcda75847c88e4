"""The admin's first page and other code that needs both apps.

It joins usage, catalog and overrides.
"""
