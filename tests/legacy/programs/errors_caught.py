"""The errors that scripts catch."""
from __future__ import print_function
import sys

import gearman
from gearman import errors

SERVERS = ["127.0.0.1:" + sys.argv[1]]
nobody = gearman.GearmanClient(["127.0.0.1:1"])
for call in (lambda: nobody.submit_job("f", "x"), lambda: nobody.submit_job("f", "x", background=True),
             lambda: gearman.GearmanAdminClient(["127.0.0.1:1"]).get_status(),
             lambda: nobody.establish_connection(nobody.connection_list[0]),
             lambda: gearman.GearmanAdminClient(SERVERS + SERVERS),
             lambda: gearman.GearmanClient(SERVERS).submit_multiple_jobs({"task": "f", "data": "x"}),
             lambda: gearman.GearmanClient(SERVERS).submit_job("f", 7)):
    try:
        call()
        print("no error")
    except errors.ServerUnavailable:
        print("ServerUnavailable")
    except errors.GearmanError as error:
        print(type(error).__name__)
    except Exception as error:
        print(type(error).__name__)
print(issubclass(errors.ServerUnavailable, errors.GearmanError), issubclass(errors.ConnectionError, errors.GearmanError))
