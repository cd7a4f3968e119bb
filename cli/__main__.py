"""`python -m maitred.cli`."""

from maitred.cli.entry import main

if __name__ == "__main__":
    main()
