"""What the market maker runs on: the broker, the virtual environment, the containers."""
