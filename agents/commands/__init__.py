"""The mm commands by subject: options in, text out; the work is done elsewhere."""
