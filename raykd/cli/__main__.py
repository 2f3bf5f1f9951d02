"""`python -m raykd.cli`, which is `raykd` where its script is not on the path."""

from raykd.cli import main

main()
