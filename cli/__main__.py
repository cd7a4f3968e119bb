"""`python -m maitred.cli`."""

from maitred.cli.main import main

if __name__ == "__main__":
    main()
