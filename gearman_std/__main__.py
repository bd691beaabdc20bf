"""``python3 -m gearman_std`` is the command gearman-std."""
from .cli.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
