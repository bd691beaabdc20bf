"""Starting threads where the system may have none left."""
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def start_thread(run: "Callable[..., Any]", name: str, *arguments: "Any") -> threading.Thread:
    """Start a thread that does not keep the program from ending.  Raises OSError if no more threads can be started."""
    thread = threading.Thread(target=run, name=name, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError("there may be no more threads, as %s needs one: %s" % (name, error)) from None
    return thread
