"""The agents of the market maker."""
