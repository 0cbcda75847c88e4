"""Members: who is let in, what they may use, what is remembered of them, and how it is erased."""
