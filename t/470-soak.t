#!/usr/bin/perl

# Months in a short time: blocks, mempool transactions, connections that come and
# go, reloads of nginx.  Afterwards memory and files are no larger than what the
# chain grew by, nothing was left behind, and the index is whole.
#
# SOAK=1 is the whole of it (20,000 blocks, 2 million transactions, 100,000
# connections, 5,000 reloads: an hour); the default 0.005 shows that it works.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Node;
use ElectrumX::Coins;
use ElectrumX::Model;
use ElectrumX::Tx qw(build_tx display op_push scripthash sha256d);
use Time::HiRes qw(time);

my $SOAK = $ENV{SOAK} || 0.005;
my $CYCLES = int 20_000 * $SOAK;
my $COINS = 100;        # transactions of a cycle
my $CONNECTIONS = 5;    # of a cycle
my $RELOAD = 4;         # cycles
my $SCRIPTS = 40_000;   # to which the coins go, one after the other

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $node = ElectrumX::Node->start($t);
my $coins = ElectrumX::Coins->new($node, free_only => 1);
$coins->mine_to('drop', $_) for 1 .. 4;
$node->generate(110);
my @coins = spread();
my %conf = ($node->indexer_conf, live_window => 20, settle_batch => 10);
$t->start_indexer(%conf);
$t->wait_ready($node->height, 60);
$t->start_nginx(workers => 2);

my %n = (blocks => 0, reloads => 0, transactions => 0);
my @samples;
my $start = time;
for my $cycle (1 .. $CYCLES) {
    transactions();
    $node->generate(1);
    $n{blocks}++;
    connections();
    if ($cycle % $RELOAD == 0) {
        $t->reload_nginx(workers => 2);
        $n{reloads}++;
    }
    sample($cycle) if $cycle % (int($CYCLES / 20) || 1) == 0;
}
$t->wait_ready($node->height, 60);
note sprintf '%.0f s: %s', time - $start,
    join ', ', map {"$_ $n{$_}"} sort keys %n;

my ($early, $late) = @samples[int(@samples / 3), -1];
for my $who (qw(indexer worker)) {
    cmp_ok($late->{$who}, '<=', $early->{$who} * 1.15 + 6,
        "memory of the $who: $early->{$who}, then $late->{$who} MB");
}
# its change log may take 64 MB
my $log = $late->{live} > 40 ? 96 : 0;
cmp_ok($late->{live}, '<=', $early->{live} * 1.3 + 8 + $log, 'live layer');
cmp_ok($late->{fds}, '<=', $early->{fds} + 24, 'descriptors of the indexer');
cmp_ok($n{failed} // 0, '<=', $n{reloads} * 3,
    'connections that met a worker that was going');

my $c = $t->client('tcp', timeout => 20);
is($c->call('blockchain.headers.subscribe')->{height}, $node->height, 'tip');
$t->stop_nginx;
$t->stop_indexer;
my $conf = $t->indexer_conf('check', %conf);
my $out = `@{[$t->build]}/electrumx-indexer check --full -c $conf 2>&1`;
is($? >> 8, 0, 'a full check finds nothing') or diag $out;
$t->done;

# One coin becomes many.
sub spread {
    my $model = ElectrumX::Model->new($node);
    $coins->rescan($model->picture);
    my $coin = $coins->take(kind => 'drop', coinbase => 1) or die 'no coin';
    my $each = int $coin->{value} / ($COINS + 1);
    my $tx = $coins->make([$coin],
        [map { [$coins->script('drop', $_), $each] } 1 .. $COINS]);
    $node->generate_block([$tx->{hex}]);
    return map { { txid => $_->{txid}, vout => $_->{vout},
        value => $_->{value} } } @{ $tx->{coins} };
}

# Each coin goes on to the next script; all of it through the mempool.
sub transactions {
    my @raw;
    for my $c (@coins) {
        my $script = op_push('soak ' . $n{transactions}++ % $SCRIPTS)
            . "\x75\x51";
        my $value = $c->{value} - 200;
        push @raw, build_tx(vin => [$c],
            vout => [{ script => $script, value => $value }]);
        $c = { txid => display(sha256d($raw[-1])), vout => 0,
            value => $value, paid => $script };
    }
    $node->rpc_batch(map { ['sendrawtransaction', unpack 'H*', $_] } @raw);
}

sub connections {
    for my $i (1 .. $CONNECTIONS) {
        my $kind = (qw(tcp ws tls))[rand 3];
        my $ok = eval {
            my $c = $t->client($kind, timeout => 20);
            $c->version('1.6');
            my $sh = scripthash($coins[rand @coins]{paid});
            $c->call('blockchain.scripthash.subscribe', $sh);
            $c->call('blockchain.scripthash.get_history', $sh);
            rand() < 0.5 ? $c->close : $c->abort;
            1;
        };
        $n{failed}++ if !$ok;
        $n{connections}++;
    }
}

sub rss_mb {
    my ($pid) = @_;
    my $text = $t->read_file("/proc/$pid/status") // '';
    return $text =~ /^RssAnon:\s+(\d+)/m ? $1 / 1024 : 0;
}

sub sample {
    my ($cycle) = @_;
    my $indexer = $t->proc('indexer')->pid;
    my $data = $t->data;
    my @workers = map { rss_mb($_) } $t->worker_pids;
    my %s = (cycle => $cycle, indexer => rss_mb($indexer),
        worker => (sort { $b <=> $a } @workers)[0] // 0);
    for my $part (qw(live settled)) {
        my ($kb) = `du -sk $data/$part` =~ /^(\d+)/;
        $s{$part} = $kb / 1024;
    }
    my @files = `find $data -type f`;
    $s{files} = @files;
    my @fds = glob "/proc/$indexer/fd/*";
    $s{fds} = @fds;
    $s{$_} = sprintf '%.1f', $s{$_} for qw(indexer worker live settled);
    push @samples, \%s;
    note sprintf '%.0f s, cycle %d: indexer %s MB, workers %s MB, live %s MB, '
        . 'settled %s MB, %d files, %d descriptors', time - $start,
        @s{qw(cycle indexer worker live settled files fds)};
}
