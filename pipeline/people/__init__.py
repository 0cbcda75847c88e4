"""Members: admission, limits, memory, pictures, conversations, and erasure of their data."""
