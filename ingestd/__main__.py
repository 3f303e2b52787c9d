"""`python -m ingestd`: the command line."""

from ingestd.cli.main import main

if __name__ == "__main__":
    main()
