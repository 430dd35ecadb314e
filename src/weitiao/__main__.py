"""`python -m weitiao`."""

from weitiao.cli.app import main

main()
