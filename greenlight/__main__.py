"""`python -m greenlight` is the command `greenlight`."""

from greenlight.cli.main import main

if __name__ == "__main__":
    main()
