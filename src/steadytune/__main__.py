"""`python -m steadytune` is the command line."""

from steadytune.cli.main import main

if __name__ == "__main__":
    main()
