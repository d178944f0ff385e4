"""The build behind setup.py: extensions, embedded programs and the launcher. Nothing here is installed."""
