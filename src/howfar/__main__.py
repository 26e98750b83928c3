"""`python -m howfar` is the command `howfar`."""

from howfar.cli import main

if __name__ == "__main__":
    main()
