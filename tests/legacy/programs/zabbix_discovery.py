"""Functions and their numbers for a monitor that discovers them."""
from __future__ import print_function
import json
import sys

import gearman

HOST = "127.0.0.1:" + sys.argv[1]
client = gearman.GearmanClient([HOST])
for number in range(3):
    client.submit_job("zabbix_a", "x", background=True)
client.submit_job("zabbix_b", "x", background=True)

admin = gearman.GearmanAdminClient([HOST])
status = [line for line in admin.get_status() if line["task"].startswith("zabbix_")]
print(json.dumps({"data": [{"{#TASK}": line["task"]} for line in sorted(status, key=lambda line: line["task"])]}))
for line in sorted(status, key=lambda line: line["task"]):
    print(line["task"], line["queued"], line["running"], line["workers"])
