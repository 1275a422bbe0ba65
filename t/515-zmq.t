#!/usr/bin/perl

# The node's ZMQ messages: with polling as good as off (once a minute) all that
# is told in seconds came by them.  Lost, repeated and missing messages; a node
# that starts anew; other topics; none.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $proxy = compile_proxy();
my ($port, $hash_port, $proxy_port) = map { $t->port($_) }
    qw(zmq zmqhash zmqproxy);
my $s = ElectrumX::Scenario->new($t, seed => 515, node => { args =>
    ["-zmqpubsequence=tcp://127.0.0.1:$port", '-debug=rpc'] });
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(10);
my $c;

subtest 'found by itself' => \&found;
subtest 'idle' => \&idle;
subtest 'a node that starts anew' => \&restarted;
subtest 'lost and repeated messages' => \&lost;
subtest 'off' => \&off;
subtest 'topics hashblock and hashtx' => \&hashes;
$t->done;

sub compile_proxy {
    my $to = $t->path('zmqproxy');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', '-O1', '-o', $to,
        "$ElectrumX::Test::ROOT/t/data/zmqproxy.c", '-lzmq']);
    die "cc: $out" if $status != 0;
    return $to;
}

sub serve {
    my (%o) = @_;
    $t->stop_indexer if $t->proc('indexer') && $t->proc('indexer')->running;
    $t->start_indexer($node->indexer_conf, live_window => 20,
        poll_ms => 60_000, zmq => 'auto', %o);
    $t->wait_ready($node->height);
    if (!$c) {
        $t->start_nginx;
        $c = $t->client('tcp', timeout => 30);
        $c->version('1.6');
    }
    $s->rescan;
}

sub log_has {
    my ($re, $n) = @_;
    my $log = $t->read_file('indexer.log') // '';
    my $found = () = $log =~ /$re/g;
    return $found >= ($n // 1);
}

sub confirmed_coin {
    $coins->{height} = $node->height;
    $s->rescan;
    return $coins->take(min => 1e6, confirmed => 1, kind => 'true')
        // die 'no coin';
}

# A transaction, another that spends it, and one that replaces both.
sub replace {
    my ($n) = @_;
    my $coin = confirmed_coin();
    my $old = $coins->make([$coin],
        [[$coins->script('drop', $n), $coin->{value} - 1000]]);
    my $next = $coins->make($old->{coins},
        [[$coins->script('drop', $n + 1), $coin->{value} - 2000]]);
    $node->send($_->{hex}) for $old, $next;
    $s->settled($c);
    my $new = $coins->make([$coin],
        [[$coins->script('drop', $n + 2), $coin->{value} - 90_000]]);
    $node->send($new->{hex});
    my $p = $s->settled($c);
    ok($p->has_tx($new->{txid}) && !$p->has_tx($old->{txid}), 'replaced');
}

sub found {
    serve();
    $t->wait_for(sub { log_has(qr/zmq: listening to tcp:\/\/127/) }, 10,
        'listens');
    $s->fill_mempool(10);
    cmp_ok(scalar(my @pool = $s->settled($c)->mempool_txids), '>', 10,
        'transactions');
    replace(200);
    $node->generate(1);
    is(scalar(@pool = $s->settled($c)->mempool_txids), 0, 'a block');
    $s->grow(3);
    $s->settled($c);
    $node->reorg(2);
    is($s->settled($c)->{height}, $node->height, 'a reorganisation');
}

# How often the node was asked.
sub calls {
    my ($method) = @_;
    my $log = $t->read_file("$node->{dir}/regtest/debug.log") // '';
    my $n = () = $log =~ /method=$method/g;
    return $n;
}

# Three looks take two of the intervals of 2 s.
sub idle {
    $s->fill_mempool(20);
    $s->settled($c);
    my $looks = calls('getbestblockhash');
    $t->wait_for(sub { calls('getbestblockhash') > $looks }, 10, 'a look');
    my ($all, $lists, $start) = (calls('\w+'), calls('getrawmempool'), time);
    $looks = calls('getbestblockhash');
    $t->wait_for(sub { calls('getbestblockhash') >= $looks + 3 }, 20,
        'three more');
    my $took = time - $start;
    cmp_ok($took, '>', 4, 'no busy loop');
    cmp_ok(calls('\w+') - $all, '<=', 4 * $took + 4, 'few calls');
    is(calls('getrawmempool'), $lists, 'no comparison');
}

sub restarted {
    $node->stop;
    $t->wait_for(sub { log_has(qr/the node does not answer/) }, 20, 'noticed');
    $node->launch;
    $node->wait_up;
    $t->wait_ready($node->height);
    $s->fill_mempool(3);
    $s->settled($c);
    $node->generate(1);
    is($s->settled($c)->{height}, $node->height, 'followed again');
    replace(210);
}

my $control;

sub control {
    my ($line) = @_;
    my $n = () = ($t->read_file('zmqproxy.log') // '') =~ /^ok/mg;
    syswrite $control, "$line\n" or die "zmqproxy: $!";
    $t->wait_for(sub {
        my $now = () = ($t->read_file('zmqproxy.log') // '') =~ /^ok/mg;
        return $now > $n;
    }, 5, "zmqproxy: $line");
}

sub send_one {
    my ($n) = @_;
    my $coin = confirmed_coin();
    my $tx = $coins->make([$coin],
        [[$coins->script('drop', $n), $coin->{value} - 1000]]);
    $node->send($tx->{hex});
    return $tx;
}

sub lost {
    my $fifo = $t->path('control');
    system('mkfifo', $fifo) == 0 or die 'mkfifo';
    open $control, '+<', $fifo or die "$fifo: $!";
    $t->start('zmqproxy', stdin => $fifo, cmd => [$proxy,
        "tcp://127.0.0.1:$port", "tcp://127.0.0.1:$proxy_port"]);
    $node->generate(1);
    serve(zmq => "tcp://127.0.0.1:$proxy_port");
    control('pass');
    send_one(230);
    $s->settled($c);
    control('repeat');
    send_one(231);
    $s->settled($c);
    send_one(232);
    $s->settled($c);
    control('lose 1');
    my $tx = send_one(233);
    send_one(234);
    ok($s->settled($c)->has_tx($tx->{txid}), 'a gap is noticed');
    control('drop');
    $tx = send_one(235);
    ok($s->settled($c)->has_tx($tx->{txid}), 'silence is noticed');
    ok(log_has(qr/changed without a message/), 'and said');
    $node->generate(1);
    $s->settled($c);
    control('pass');
    send_one(236);
    replace(240);
    is($s->settled($c)->{height}, $node->height, 'all is well again');
}

sub off {
    serve(zmq => 'off', poll_ms => 100);
    my $log = $t->read_file('indexer.log');
    $s->fill_mempool(3);
    replace(250);
    $node->generate(1);
    $s->settled($c);
    my $last = rindex $log, 'electrumx-indexer';
    unlike(substr($t->read_file('indexer.log'), $last), qr/zmq: listening/,
        'does not listen');
}

sub hashes {
    $node->stop;
    $node->{args} = ["-zmqpubhashblock=tcp://127.0.0.1:$hash_port",
        "-zmqpubhashtx=tcp://127.0.0.1:$hash_port", '-debug=rpc'];
    $node->launch;
    $node->wait_up;
    serve(poll_ms => 2000);
    $t->wait_for(sub { log_has(qr/listening to tcp:\S+:$hash_port/) }, 10,
        'listens');
    $s->fill_mempool(3);
    $s->settled($c);
    replace(260);
    $node->generate(1);
    is($s->settled($c)->{height}, $node->height, 'followed');
}
