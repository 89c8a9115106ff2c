"""`python -m qts`."""

from qts.ops import serve

if __name__ == "__main__":
    serve()
