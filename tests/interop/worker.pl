# A worker of Perl's Gearman::Worker: worker.pl HOST PORT
use strict;
use warnings;
use Gearman::Worker;

$| = 1;
my $runs = 0;
my $worker = Gearman::Worker->new(job_servers => ["$ARGV[0]:$ARGV[1]"]);
$worker->register_function(echo => sub { $_[0]->arg });
$worker->register_function(nothing => sub { "" });
$worker->register_function(reverse => sub { scalar reverse $_[0]->arg });
$worker->register_function(count => sub { ++$runs });
$worker->register_function(tell => sub {
    my $job = shift;
    $job->set_status(1, 2);
    $worker->send_work_data($job, "half ");
    $worker->send_work_warning($job, "careful");
    return "done";
});
$worker->register_function(fail => sub { undef });
$worker->register_function(raise => sub { $worker->send_work_exception($_[0], "no good"); undef });
print "ready\n";
$worker->work;
