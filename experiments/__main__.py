"""List the experiments, a line each: python -m experiments."""

import sys

from experiments import catalogue
from jaxdl.runs import commandline


def main() -> int:
    """Print the name and the first line of every experiment."""
    given = [one for one in sys.argv[1:] if one not in ("-h", "--help")]
    if given:
        known = [name for name in given if name in catalogue.names()]
        hint = f"run python -m experiments.{known[0]}" if known else f"there are {', '.join(catalogue.names())}"
        raise ValueError(f"{' '.join(given)}: python -m experiments only lists the experiments; {hint}")
    width = max(map(len, catalogue.names()))
    for name in catalogue.names():
        print(f"{name:{width}}  {catalogue.first_line(name)}")
    print(
        "\npython -m experiments.NAME --help explains one; python -m experiments.all runs those that measure the "
        "lectures' claims, and makes docs/results.md."
    )
    return 0


if __name__ == "__main__":
    commandline.run_main(main)
