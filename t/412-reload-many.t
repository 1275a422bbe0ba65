#!/usr/bin/perl

# nginx reload with many sessions: all of them come back, subscribe again and are
# told of what comes next; the old workers end; nobody got an error, nothing is
# in nginx's log, memory is what it was.
#
# SESSIONS=n on each transport, TCP and WebSocket (default 1000; 10,000 sessions
# take SESSIONS=5000 and descriptors for the load generator, `ulimit -n 12000`).

use lib 't/lib';
use ElectrumX::Node;
use ElectrumX::Test;
use ElectrumX::Tx qw(build_tx);
use Time::HiRes qw(time);

my $N = $ENV{SESSIONS} || 1000;
my $WORKERS = 2;
my $PATIENCE = 60 + $N / 50;    # seconds; only a broken server takes so long
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls bench)]);
my $node = ElectrumX::Node->start($t);
$node->generate(115);
my @mine = map { { txid => $node->rpc('getblock', $node->hash_at($_))->{tx}[0],
    vout => 0, value => 50e8 } } 1 .. 10;
$t->start_indexer($node->indexer_conf);
$t->wait_ready($node->height);
start();
my %load = map { $_ => idle($_) } qw(tcp ws);

all_up(0);
my $before = memory();
my $took = 0;
for my $round (1 .. 3) {
    subtest "reload $round" => \&reload;
    subtest "block $round" => \&told;
}
my $after = memory();
cmp_ok($after, '<=', 1.2 * $before + 4,
    sprintf 'memory of the workers: %.1f MB, then %.1f MB', $before, $after);
stop($_) for values %load;
$t->wait_for(sub { my ($code, $body) = $t->http_get('/status');
        $body =~ /"sessions":0\b/ }, $PATIENCE, 'no session is left');
is(scalar($t->worker_pids), $WORKERS, 'the workers');
$t->done;

sub start {
    my $conf = $t->nginx_conf(workers => $WORKERS,
        main => 'worker_rlimit_nofile ' . (2 * $N + 2000) . ';',
        map { $_ . '_listen' => 'reuseport backlog=4096' } qw(tcp tls ws wss));
    my $connections = 2 * $N + 1000;
    $conf =~ s/worker_connections 1024/worker_connections $connections/;
    $t->start_nginx(conf => $conf);
    $t->wait_for(sub { $t->worker_pids == $WORKERS }, 10, 'workers');
}

# ---- the load generator (t/bench/load_idle.c) -------------------------------

sub idle {
    my ($transport) = @_;
    pipe my $r, my $in or die "pipe: $!";
    pipe my $out, my $w or die "pipe: $!";
    my $p = $t->start("load-$transport", stdin => '/dev/fd/' . fileno $r,
        log => '/dev/fd/' . fileno $w, cmd => [$t->build . '/bench/load',
        '--port', $t->port($transport), $transport eq 'ws' ? '--ws' : (),
        '--idle', $N, '--subs', 2, '--sources', 16]);
    $in->autoflush(1);
    return { in => $in, out => $out, name => $transport, proc => $p };
}

sub say_to {
    my ($l, $what) = @_;
    print { $l->{in} } "$what\n";
    my $line = readline $l->{out};
    die "load: " . ($line // 'ended') . "\n" if ($line // '') !~ /^up=/;
    return { map { split /=/ } split ' ', $line };
}

sub stop {
    my ($l) = @_;
    close $l->{in};
    is($l->{proc}->wait($PATIENCE), 0, "$l->{name}: no answer was an error");
    $t->allow_exit($l->{proc}->name);
}

# All have subscribed, after having come back so often.
sub all_up {
    my ($comebacks) = @_;
    for my $l (values %load) {
        my $r;
        $t->wait_for(sub {
            $r = say_to($l, 'stat');
            return $r->{up} == $N && $r->{comebacks} >= $comebacks;
        }, $PATIENCE, "$l->{name}: $N sessions");
        ok(1, "$l->{name}: $r->{up} sessions, $r->{comebacks} came back");
    }
}

# ---- what happens -----------------------------------------------------------

# Of all workers, what is not mapped from files, MB.
sub memory {
    my $kb = 0;
    for my $pid ($t->worker_pids) {
        $kb += $1 if ($t->read_file("/proc/$pid/status") // '')
            =~ /^RssAnon:\s+(\d+)/m;
    }
    return $kb / 1024;
}

sub reload {
    my %old = map { $_ => 1 } $t->worker_pids;
    say_to($_, 'mark') for values %load;
    my $start = time;
    $t->proc('nginx')->signal('HUP');
    all_up($N);
    note sprintf 'all back after %.1f s', time - $start;
    $t->wait_for(sub { !grep { $old{$_} } $t->worker_pids }, $PATIENCE,
        'the old workers end');
    is(scalar($t->worker_pids), $WORKERS, 'new workers only');
}

# A transaction that touches script 0 of each connection, in a block.
sub told {
    my $n = $N > 10_000 ? 10_000 : $N;
    my @scripts = map { pack 'C L< C L< C2', 4, $_, 4, 0, 0x6d, 0x51 }
        0 .. $n - 1;
    my $coin = shift @mine;
    my $raw = build_tx(vin => [$coin],
        vout => [map { { script => $_, value => 1000 } } @scripts]);
    say_to($_, 'mark') for values %load;
    $node->generate_block([unpack 'H*', $raw]);
    for my $l (values %load) {
        my $r;
        $t->wait_for(sub {
            $r = say_to($l, 'stat');
            return $r->{notified} == $N;
        }, $PATIENCE, "$l->{name}: notifications");
        ok(1, "$l->{name}: $r->{notified} sessions were told");
    }
    all_up(0);
}
