"""The library's public face: it starts the launcher and speaks to it, and never forks its host (docs/api.md)."""
