"""Libraries of the Python tests: servers and clusters, wire protocols, models of right answers, generators of input."""
import pathlib

# The top of the repository.
ROOT = pathlib.Path(__file__).resolve().parents[3]
