"""Scenarios in the words that podman and Docker share; test_podman.py and test_docker.py run them."""
