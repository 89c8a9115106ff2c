"""`python -m observer`."""

from observer.observer_runner import main

if __name__ == "__main__":
    main()
