"""The same work in other engines. Each program runs with its own packages and imports nothing of ours but `rule`."""
