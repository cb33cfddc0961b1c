"""The topic ``controls``: as operators write it, as it is exported, as the signals agent follows it."""
