#!/usr/bin/perl

# From the node to the wallet: how long until a subscribed client is told of a
# transaction or a block, with a mempool of 20,000 and a real node.
#
#   make bench-latency                  # or, after a build:
#   perl -It/lib -It/bench t/bench/latency.pl    # ZMQ=0: without the node's
#                                                # messages
#
# POOL (20000), TXS (300 transactions sent one by one), BLOCKS (10 of each).
# A transaction's time runs from the answer of sendrawtransaction, a block's
# from the node's own hashblock message.

use strict;
use warnings;
use lib qw(t/lib t/bench);
use Figures;
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $ZMQ = $ENV{ZMQ} // 1;
my $POOL = $ENV{POOL} || 20_000;
my $TXS = $ENV{TXS} || 300;
my $BLOCKS = $ENV{BLOCKS} || 10;
my $FAN = 2000;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my ($port, $hash_port) = map { $t->port($_) } qw(zmq zmqhash);
my $s = ElectrumX::Scenario->new($t, seed => 7, free_only => 1, node => {
    args => [qw(-checkmempool=0 -checkblockindex=0),
        "-zmqpubhashblock=tcp://127.0.0.1:$hash_port", ($ZMQ
        ? ("-zmqpubsequence=tcp://127.0.0.1:$port",
            '-zmqpubsequencehwm=100000') : ())] });
my ($node, $coins) = @$s{qw(node coins)};
my ($c, @coins, @pool);
my $scripts = 0;

build_clock();
$node->generate(150);
$s->rescan;
@coins = fan_out(int(($POOL + $TXS + $BLOCKS * 50) / $FAN) + 4);
serve();
fill();
transactions();
small_blocks();
large_blocks();
print_figures();
$t->stop_nginx;
$t->stop_indexer;
$t->done;

# ---- set-up -----------------------------------------------------------------

sub build_clock {
    my $exe = $t->path('zmqtimes');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', '-O1', '-o', $exe,
        "$ElectrumX::Test::ROOT/t/bench/zmqtimes.c", '-lzmq']);
    die "cc: $out" if $status != 0;
    $t->start('zmqtimes', cmd => [$exe, "tcp://127.0.0.1:$hash_port"]);
}

# Coins that anyone can spend, confirmed.
sub fan_out {
    my ($n) = @_;
    my @out;
    for (1 .. $n) {
        my $coin = $coins->take(coinbase => 1, kind => 'true', min => 1e8)
            or die 'no coin';
        my $each = int($coin->{value} / ($FAN + 1));
        my $tx = $coins->make([$coin],
            [map { [$coins->script('true'), $each] } 1 .. $FAN]);
        $node->generate_block([$tx->{hex}]);
        push @out, @{ $tx->{coins} };
    }
    return @out;
}

sub serve {
    $s->serve(indexer => { live_window => 100, zmq => $ZMQ ? 'auto' : 'off' },
        nginx => { workers => 1 });
    $c = $t->client('tcp', timeout => 60);
    $c->version('1.6');
    $c->call('blockchain.headers.subscribe');
}

# A transaction to a script of its own.
sub make_tx {
    my $coin = shift @coins or die 'no coin left';
    my $script = $coins->script('drop', ++$scripts);
    my $tx = $coins->make([$coin], [[$script, $coin->{value} - 1000]]);
    $tx->{sh} = ElectrumX::Tx::scripthash($script);
    return $tx;
}

sub fill {
    my @txs = map { make_tx() } 1 .. $POOL;
    my $start = time;
    $node->rpc_batch(map { ['sendrawtransaction', $_->{hex}, 0] } @txs);
    @pool = @txs;
    my $sent = time - $start;
    $t->wait_for(sub { ($t->status->{mempool} // 0) >= $POOL }, 120,
        'mempool');
    note sprintf '%d transactions: node %.1f s, all indexed after %.1f s',
        $POOL, $sent, time - $start;
}

# ---- measuring --------------------------------------------------------------

sub cpu {
    my $stat = $t->read_file('/proc/' . $t->proc('indexer')->pid . '/stat');
    my @f = split ' ', $stat =~ s/.*\) //r;
    return ($f[11] + $f[12]) * 10;
}

# With the targets (ms) of the median and of p99; undef: none.
sub say_times {
    my ($what, $median, $p99, @ms) = @_;
    @ms = sort { $a <=> $b } @ms;
    printf "# %-34s median %6.1f ms  p99 %6.1f ms  most %6.1f ms\n", $what,
        $ms[@ms / 2], $ms[int @ms * 0.99], $ms[-1];
    at_most("$what, median", $ms[@ms / 2], $median, 'ms');
    at_most("$what, p99", $ms[int @ms * 0.99], $p99, 'ms') if $p99;
}

sub transactions {
    my @ms;
    my @txs = map { make_tx() } 1 .. $TXS;
    $c->call('blockchain.scripthash.subscribe', $_->{sh}) for @txs;
    my $cpu = cpu();
    for my $tx (@txs) {
        $node->send($tx->{hex});
        my $sent = time;
        $c->notification('blockchain.scripthash.subscribe', 30,
            sub { $_[0][0] eq $tx->{sh} });
        push @ms, (time - $sent) * 1000;
    }
    my $how = $ZMQ ? '' : ', without ZMQ';
    say_times("mempool of $POOL: transaction -> status$how", 50, 200, @ms);
    printf "# indexer CPU for each: %.2f ms\n", (cpu() - $cpu) / $TXS;
}

sub hashblock_time {
    my ($hash) = @_;
    my $at;
    $t->wait_for(sub {
        ($at) = ($t->read_file('zmqtimes.log') // '') =~ /^(\S+) $hash/m;
    }, 10, 'hashblock');
    return $at;
}

# Blocks of these transactions, of which some are subscribed to.
sub blocks {
    my ($what, $n, $each, $watched, $limit) = @_;
    my (@header, @status, @cpu);
    for (1 .. $n) {
        my @txs = splice @pool, 0, $each;
        my %wait = map { $_->{sh} => 1 } @txs[0 .. $watched - 1];
        $c->call('blockchain.scripthash.subscribe', $_) for sort keys %wait;
        $c->notifications;
        my $cpu = cpu();
        my $pid = fork // die "fork: $!";
        if (!$pid) {    # the answer comes late: not to be waited for
            delete $node->{sock};
            eval { $node->rpc('generateblock', $ElectrumX::Node::ANYONE,
                [map { $_->{txid} } @txs]); 1 } or print STDERR $@;
            POSIX::_exit(0);
        }
        $c->notification('blockchain.headers.subscribe', 60);
        my $header = time;
        my $method = 'blockchain.scripthash.subscribe';
        delete $wait{ $c->notification($method, 60)->[0] } while %wait;
        my $status = time;
        waitpid $pid, 0;
        my $at = hashblock_time($node->tip);
        push @header, ($header - $at) * 1000;
        push @status, ($status - $at) * 1000;
        push @cpu, cpu() - $cpu;
    }
    say_times("$what: header", $limit->[0], undef, @header);
    say_times("$what: $watched statuses", $limit->[1], undef, @status);
    @cpu = sort { $a <=> $b } @cpu;
    printf "# indexer CPU for each: %.0f ms\n", $cpu[@cpu / 2];
}

sub small_blocks { blocks('block of 10', $BLOCKS, 10, 10, [20, 50]) }

sub large_blocks {
    my $n = int(@pool / 4000);
    blocks('block of 4,000', $n < $BLOCKS ? $n : $BLOCKS, 4000, 200,
        [150, 300]);
}
