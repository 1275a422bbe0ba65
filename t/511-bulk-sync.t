#!/usr/bin/perl

# The initial sync of a chain that is long enough to be indexed at once, from
# each source, killed on the way: every answer is compared with what the node's
# own RPC says.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $s = ElectrumX::Scenario->new($t, seed => 511, free_only => 1);
my $node = $s->{node};
my $first = $t->data;

$s->base;
$s->grow(30);
$node->generate(500) for 1 .. 4;
$s->heavy(1300);
$s->grow(40);
$node->generate(20);
cmp_ok($node->height, '>', 2150, 'a long chain');

my %conf = ($node->indexer_conf, live_window => 20, spender => 'on',
    blocks_dir => "$node->{dir}/regtest/blocks");

# Killed again and again: the next start goes on, or begins anew.
my $logs = '';
for my $i (1 .. 6) {
    $t->start_indexer(%conf, block_source => 'files', memory_mb => 256);
    sleep 0.02 + 0.08 * $i * rand;
    $t->kill_indexer;
}
$t->start_indexer(%conf, block_source => 'files', memory_mb => 256);
$t->wait_ready($node->height, 60);
$t->start_nginx(workers => 1);
compare('block files, killed on the way');

# Stopped in the middle, then killed: nothing that the stop has saved is lost.
$t->stop_nginx;
$t->stop_indexer;
my %slow = (%conf, $node->slow_conf(20), block_source => 'rpc',
    data_dir => $t->path('data-stopped'));
$t->start_indexer(%slow);
my $seen = 0;
$t->wait_for(sub {
    my $status = $t->status // return;
    $seen = $status->{height} if ($status->{phase} // '') =~ /^reading blocks/;
    return $seen > 20;
}, 60, 'some blocks are read');
cmp_ok($seen, '<', $node->height - 100, 'not all of them');
$t->stop_indexer;
my $saved = 0;
for my $how (qw(stop kill)) {
    unlink $t->path('indexer.log');
    $t->start_indexer(%slow);
    my $from;
    $t->wait_for(sub {
        ($from) = ($t->read_file('indexer.log') // '')
            =~ /initial sync of blocks (\d+) to \d+ from/;
        return defined $from;
    }, 30, 'it begins again');
    cmp_ok($from, '>', $saved || $seen, "goes on after a stop") if !$saved;
    cmp_ok($from, '>=', $saved, 'and after a kill') if $saved;
    $saved = $from;
    $t->kill_indexer;
}
$t->start_indexer(%conf, data_dir => $t->path('data-stopped'));
$t->wait_ready($node->height, 60);
$t->start_nginx(workers => 1);
compare('stopped, killed, from another source then');

# Block files that end too early, and one that is garbage: the node has them.
$t->stop_nginx;
$t->stop_indexer;
my $copy = $t->path('blocks');
mkdir $copy or die "$copy: $!";
for my $file (glob "$conf{blocks_dir}/*.dat") {
    my ($name) = $file =~ m{([^/]+)$};
    my $bytes = $t->read_file($file);
    $bytes = substr $bytes, 0, 400_000 if $name eq 'blk00000.dat';
    $t->write_file("blocks/$name", $bytes) if $name =~ /^(?:blk|xor)/;
}
$t->write_file('blocks/blk00001.dat', 'no blocks here' x 10_000);
$t->start_indexer(%conf, blocks_dir => $copy, block_source => 'auto',
    data_dir => $t->path('data-files'));
$t->wait_ready($node->height, 60);
like($t->read_file('indexer.log'),
    qr/initial sync of blocks 0 to \d+ from (?:block files|REST)/,
    'begun with files, unless their threads have met the garbage already');
$t->start_nginx(workers => 1);
compare('block files of which the node has more');

for my $source (qw(rest rpc auto)) {
    $t->stop_nginx;
    $t->stop_indexer;
    $t->start_indexer(%conf, block_source => $source,
        data_dir => $t->path("data-$source"),
        $source eq 'auto' ? (blocks_dir => undef, spender => 'off') : ());
    $t->wait_ready($node->height, 60);
    like($t->read_file($t->path('indexer.log')),
        qr/initial sync of blocks 0 to \d+ from/, "$source: all at once");
    $t->start_nginx(workers => 1);
    compare($source);
}

# Then it is an index like any other.
$s->grow(30);
$t->wait_ready($node->height, 30);
compare('blocks after it');
$t->done;

sub compare {
    my ($what) = @_;
    my $c = $t->client('tcp', timeout => 30);
    $c->version('1.6');
    my $p = $s->settled($c);
    my $cmp = ElectrumX::Compare->new(picture => $p, version => '1.6',
        client => $c, batch => 50);
    $cmp->scripts;
    $cmp->transactions($p->all_txids);
    $cmp->ok($what);
    is(scalar(glob $t->data . '/settled/*/bulk'), undef,
        "$what: no temporary files are left");
}
