"""tools/single_file.py as a module, for tests that build the single file several times."""
import functools
import importlib.util
import os


@functools.lru_cache()
def load_builder(root):
    """The tool as a module, which reads a file that has not changed only once, whoever asks."""
    spec = importlib.util.spec_from_file_location("tools_single_file", os.path.join(root, "tools", "single_file.py"))
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    read, known = builder.Module, {}

    def module(folder, file_name, **options):
        with open(os.path.join(folder, file_name), "rb") as file:
            key = (file_name, file.read())
        if key not in known:
            known[key] = read(folder, file_name, **options)
        return known[key]
    builder.Module = module
    return builder
