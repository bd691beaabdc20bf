"""The words of python-gearman for priorities and states."""
DEFAULT_GEARMAN_PORT = 4730
_DEBUG_MODE_ = False  # scripts may set it; nothing here reads it, as the loggers below "gearman_std" have levels

PRIORITY_NONE = None
PRIORITY_LOW = "LOW"
PRIORITY_HIGH = "HIGH"

JOB_UNKNOWN = "UNKNOWN"    # not submitted, or its connection was lost
JOB_PENDING = "PENDING"    # submitted; its handle has not come yet
JOB_CREATED = "CREATED"    # a server has it
JOB_FAILED = "FAILED"
JOB_COMPLETE = "COMPLETE"
