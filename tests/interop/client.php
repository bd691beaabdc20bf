<?php
// What PHP's GearmanClient can do, one line of output for each thing that happened: client.php HOST PORT IDLE, a function that nobody can do
$client = new GearmanClient();
$client->addServer($argv[1], (int) $argv[2]);
$client->enableExceptionHandler();

foreach ([1, 65535, 65536, 65537, 1048576] as $size) {
    $workload = substr(str_repeat("1234567890", intdiv($size, 10) + 1), 0, $size);
    $result = $client->doNormal("echo", $workload);
    echo "echo $size ", $result === $workload ? "same" : "other", "\n";
}
echo "nothing '", $client->doNormal("nothing", "x"), "'\n";
echo "reverse ", $client->doNormal("reverse", "hello"), " ", $client->doHigh("reverse", "high"), " ",
    $client->doLow("reverse", "low"), "\n";

$client->setStatusCallback(function ($task) { echo "status ", $task->taskNumerator(), "/", $task->taskDenominator(), "\n"; });
$client->setDataCallback(function ($task) { echo "data ", $task->data(), "\n"; });
$client->setWarningCallback(function ($task) { echo "warning ", $task->data(), "\n"; });
$client->setCompleteCallback(function ($task) { echo "complete ", $task->data(), "\n"; });
$client->setFailCallback(function ($task) { echo "failed\n"; });
$client->setExceptionCallback(function ($task) { echo "exception ", $task->data(), "\n"; });
foreach (["tell", "fail", "raise"] as $function) {
    $client->addTask($function, "x");
    $client->runTasks();
}
$client->clearCallbacks();

$results = [];
$client->setCompleteCallback(function ($task) use (&$results) { $results[] = $task->data(); });
for ($number = 100; $number < 120; $number++) {
    [$client, ["addTask", "addTaskHigh", "addTaskLow"][$number % 3]]("reverse", (string) $number);
}
$client->runTasks();
sort($results);
echo "tasks ", count($results), " ", $results[0], "\n";
$client->clearCallbacks();

$first = $client->doBackground($argv[3], "x", "once");
$second = $client->doHighBackground($argv[3], "y", "once");
[$known, $running] = $client->jobStatus($first);
echo "background ", $first === $second ? "joined" : "apart", " ", (int) $known, " ", (int) $running, "\n";
$third = $client->doLowBackground($argv[3], "z", "else");
echo "unknown ", (int) $client->jobStatus("H:none:1")[0], "\n";
echo "ping ", (int) $client->ping("hello"), "\n";
$client->setTimeout(200);
@$client->doNormal($argv[3], "never");
echo "timeout ", (int) ($client->returnCode() == GEARMAN_TIMEOUT), "\n";
