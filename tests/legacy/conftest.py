"""Where the single-file build is under test, there is no folder legacy; test_legacy_file.py tests that of gearman.py."""
import gearman_std

collect_ignore_glob = [] if hasattr(gearman_std, "__path__") else ["test_*.py"]
