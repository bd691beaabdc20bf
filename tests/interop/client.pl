# What Perl's Gearman::Client can do, one line of output for each thing that happened: client.pl HOST PORT IDLE, a function that nobody can do
use strict;
use warnings;
use Gearman::Client;

$| = 1;
my $client = Gearman::Client->new(job_servers => ["$ARGV[0]:$ARGV[1]"]);
for my $size (0, 1, 65535, 65536, 65537, 1048576) {
    my $workload = substr("1234567890" x ($size / 10 + 1), 0, $size);
    my $result = $client->do_task(echo => $workload);
    print "echo $size ", $result && $$result eq $workload ? "same" : "other", "\n";
}
print "nothing '", ${ $client->do_task(nothing => "x") }, "'\n";
print "reverse ", join(" ", map { ${ $client->do_task(reverse => $_->[0], { priority => $_->[1] }) } }
    ["hello", "normal"], ["high", "high"], ["low", "low"]), "\n";
for my $function ("tell", "fail") {
    my $tasks = $client->new_task_set;
    $tasks->add_task($function => "", {
        on_status   => sub { print "status $_[0]/$_[1]\n" },
        on_data     => sub { print "data ${$_[0]}\n" },
        on_warning  => sub { print "warning ${$_[0]}\n" },
        on_complete => sub { print "complete ${$_[0]}\n" },
        on_fail     => sub { print "failed\n" },
    });
    $tasks->wait(timeout => 20);
}
my $tasks = $client->new_task_set;
my @results;
$tasks->add_task(reverse => $_, { on_complete => sub { push @results, ${ $_[0] } } }) for 100 .. 119;
$tasks->wait(timeout => 20);
@results = sort @results;
print "tasks ", scalar(@results), " $results[0]\n";

my $first  = $client->dispatch_background($ARGV[2] => "x", { uniq => "once" });
my $second = $client->dispatch_background($ARGV[2] => "y", { uniq => "once" });
my $status = $client->get_status($first);
print "background ", $first eq $second ? "joined" : "apart", " ", $status->known ? 1 : 0, " ", $status->running ? 1 : 0, "\n";
my $hopeless = $client->new_task_set;
$hopeless->add_task($ARGV[2] => "never", { on_fail => sub { print "timeout 1\n" } });
$hopeless->wait(timeout => 0.2);
