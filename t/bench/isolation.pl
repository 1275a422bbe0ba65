#!/usr/bin/perl

# Does anybody feel a heavy client?  Starts a node with a chain of chaingen, an
# indexer and one nginx worker, and measures how long a client waits for ping
# and for balances of random scripts
#   - alone,
#   - while others ask for the heaviest history in a loop,
#   - while one client has asked for much and does not read.
# Beside the time it takes the worker's CPU time between question and answer:
# that is what others' work adds, whatever else the machine is doing.
#
#   make all bench
#   build/bench/chaingen --out c.dat --side side --blocks 400 \
#       --txs-per-block 800 --reuse 0.9 --zipf 2.5 --end-time 1700000000
#   perl -It/lib t/bench/isolation.pl c.dat side [clients 8] [seconds 20]

use strict;
use warnings;
use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Node;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(sleep time clock_gettime CLOCK_MONOTONIC);

my ($chain, $side, $clients, $seconds) = @ARGV;
die "usage: isolation.pl CHAIN SIDE [CLIENTS] [SECONDS]\n" if !$side;
$clients ||= 8;
$seconds ||= 20;
my $S = 'blockchain.scripthash';
my $json = JSON::PP::decode_json(slurp("$side.json"));
my @scripts = map { [(split /\t/)[1, 2]] } grep { !/^#/ }
    split /\n/, slurp("$side.samples.tsv");
my ($heavy) = sort { $b->[1] <=> $a->[1] } @scripts;
my @light = map { $_->[0] } grep { $_->[1] <= 200 } @scripts;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $node = ElectrumX::Node->start($t, args => ["-loadblock=$chain",
    '-checkblockindex=0', '-dbcache=300']);
$t->wait_for(sub { $node->height >= $json->{height} }, 600, 'chain loaded');
$t->start_indexer($node->indexer_conf, live_window => 20);
$t->wait_ready($node->height, 300);
$t->start_nginx(workers => 1,
    electrumx => 'max_response 60m; send_timeout 600s;');
my $worker;
$t->wait_for(sub { ($worker) = $t->worker_pids }, 10, 'a worker');

printf "heaviest script: %d entries; %d others asked for balances\n",
    $heavy->[1], scalar @light;
# On a machine that others use: before them (root only).
setpriority 0, $worker, -10 if !$>;
setpriority 0, $$, -15 if !$>;

# The clock of another process, as the kernel numbers it.
my $clock = do { use integer; (~$worker << 3) | 2 };
print 'ms: p50, p99, max of ping; of get_balance; then the same of the ',
    "worker's CPU time\n";
measure('alone');
my @pids = map { heavy_client() } 1 .. $clients;
sleep 1;
measure("$clients clients, heaviest history");
stop(@pids);
@pids = stuck_client();
sleep 2;
measure('one client does not read');
stop(@pids);
$t->done;

sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$fh>;
}

sub stop {
    kill 'TERM', @_;
    waitpid $_, 0 for @_;
}

sub connection {
    my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $t->port('tcp')) or die "connect: $!\n";
    setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
    return $sock;
}

sub request {
    my ($method, @params) = @_;
    return JSON::PP::encode_json({ id => 1, method => $method,
        params => \@params }) . "\n";
}

# Asks again and again; reads without looking.
sub heavy_client {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    setpriority 0, 0, 0;
    $SIG{TERM} = sub { POSIX::_exit(0) };
    my $sock = connection();
    while (1) {
        syswrite $sock, request("$S.get_history", $heavy->[0]);
        do { sysread $sock, my $buf, 1 << 18 or POSIX::_exit(1);
            $_ = substr $buf, -1;
        } until $_ eq "\n";
    }
}

# Asks much and reads nothing.
sub stuck_client {
    my $pid = fork // die "fork: $!\n";
    return $pid if $pid;
    setpriority 0, 0, 0;
    $SIG{TERM} = sub { POSIX::_exit(0) };
    my $sock = connection();
    syswrite $sock, request("$S.get_history", $heavy->[0]) x 100;
    sleep 1 while 1;
}

# Milliseconds until the answer, and of the worker's CPU.
sub ask {
    my ($sock, $text) = @_;
    my @start = map { clock_gettime($_) } CLOCK_MONOTONIC, $clock;
    syswrite $sock, $text;
    my $in = '';
    until ($in =~ /\n\z/) {
        sysread $sock, $in, 65536, length $in or die "closed\n";
    }
    my @end = map { clock_gettime($_) } CLOCK_MONOTONIC, $clock;
    return [map { ($end[$_] - $start[$_]) * 1000 } 0, 1];
}

sub measure {
    my ($name) = @_;
    my $sock = connection();
    my ($ping, $end) = (request('server.ping'), time + $seconds);
    my $cpu = cpu();
    my (@ping, @balance);
    while (time < $end) {
        push @ping, ask($sock, $ping);
        push @balance, ask($sock,
            request("$S.get_balance", $light[rand @light]));
        sleep 0.002;
    }
    $cpu = (cpu() - $cpu) / $seconds * 100;
    printf "%-32s %s | %s | %s | %s | CPU %.0f%% RSS %.0f MB\n", $name,
        map({ my $i = $_; map { at($i, @$_) } \@ping, \@balance } 0, 1),
        $cpu, rss();
}

sub at {
    my ($i, @list) = @_;
    @list = sort { $a <=> $b } map { $_->[$i] } @list;
    return join ' ', map { sprintf '%7.2f', $list[int($#list * $_)] }
        0.5, 0.99, 1;
}

sub cpu {
    my @f = split ' ', slurp("/proc/$worker/stat") =~ s/^.*\) //r;
    return ($f[11] + $f[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

sub rss {
    return slurp("/proc/$worker/status") =~ /RssAnon:\s*(\d+)/ ? $1 / 1024 : 0;
}
