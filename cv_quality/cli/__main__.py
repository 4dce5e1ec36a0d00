"""`python -m cv_quality.cli` is `cvq`."""

from cv_quality.cli import main

if __name__ == "__main__":
    main()
