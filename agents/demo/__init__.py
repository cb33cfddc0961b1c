"""The whole market maker on this machine for a while, for looking at."""
