<?php
// A worker of PHP's GearmanWorker: worker.php HOST PORT
$runs = 0;
$worker = new GearmanWorker();
$worker->addServer($argv[1], (int) $argv[2]);
$worker->setId("php");
$worker->addFunction("echo", function ($job) { return $job->workload(); });
$worker->addFunction("nothing", function ($job) { return ""; });
$worker->addFunction("reverse", function ($job) { return strrev($job->workload()); });
$worker->addFunction("count", function ($job) use (&$runs) { return (string) ++$runs; });
$worker->addFunction("unique", function ($job) { return $job->unique(); });
$worker->addFunction("tell", function ($job) {
    $job->sendStatus(1, 2);
    $job->sendData("half ");
    $job->sendWarning("careful");
    return "done";
});
$worker->addFunction("fail", function ($job) { $job->sendFail(); });
$worker->addFunction("raise", function ($job) { $job->sendException("no good"); });
echo "ready\n";
while ($worker->work());
fwrite(STDERR, $worker->error() . "\n");
exit(1);
