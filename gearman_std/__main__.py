"""``python3 -m gearman_std``, or ``python3`` with the package's folder, is the command gearman-std."""
import sys

if __package__:
    from .cli import main
    if __name__ == "__main__":
        sys.exit(main())
else:  # the folder was run: Python now looks for modules in the folder instead of beside it
    import os
    import runpy
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(folder)
    runpy.run_module(os.path.basename(folder), run_name="__main__")
