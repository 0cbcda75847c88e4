"""The admin's first page and other code that needs both apps, `agents` and `pipeline`.

It combines usage, catalog and overrides.
"""
