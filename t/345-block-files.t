#!/usr/bin/perl
# Settled transactions out of the node's block files: without the node, with
# its obfuscation, after the files have changed, and when they are not there.
use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $s = ElectrumX::Scenario->new($t, seed => 345);
my $node = $s->{node};
$s->base;
$s->grow(30);

my %conf = (live_window => 20, settle_batch => 5,
    blocks_dir => "$node->{dir}/regtest/blocks");
$s->serve(indexer => \%conf);
my $c = $t->client('tcp');
ok(-s "$conf{blocks_dir}/xor.dat", 'the node obfuscates its files');

# txid => hex of all transactions of some settled blocks
my %raw;
for my $height (1, 5, 60, 100, $node->height - 30, $node->height - 40) {
    my $hash = $node->hash_at($height);
    $raw{$_} = $node->rpc('getrawtransaction', $_, ElectrumX::Node::FALSE,
        $hash) for @{ $node->rpc('getblock', $hash, 1)->{tx} };
}
cmp_ok(scalar keys %raw, '>=', 6, 'transactions');

sub wrong {
    my @wrong;
    for my $txid (sort keys %raw) {
        my $have = eval { $c->call('blockchain.transaction.get', $txid) };
        push @wrong, $txid if ($have // '') ne $raw{$txid};
    }
    return scalar @wrong;
}

sub positions {
    my ($n) = @_;
    $t->wait_for(sub { (-s $t->path('data/blockpos') // 0) >= 8 * $n }, 20,
        'positions');
}

is(wrong(), 0, 'with the node');
positions($node->height - 30);
$t->wait_for(sub { !wrong() }, 5, 'still right');
$node->stop;
$t->wait_for(sub { !wrong() }, 15, 'block files are read');
is(wrong(), 0, 'without the node: from its block files');

# Positions of another node's files: what is there has another txid.
my $file = $t->path('data/blockpos');
my $good = $t->read_file($file);
open my $f, '+<', $file or die "$file: $!";
binmode $f;
for my $i (0 .. length($good) / 8 - 1) {
    my ($off, $n) = unpack 'L<2', substr $good, $i * 8, 8;
    seek $f, $i * 8, 0;
    print {$f} pack 'L<2', $i % 2 ? $off + 1 : 0xfffffff0, $n;
}
close $f;
is(wrong(), scalar keys %raw, 'wrong positions are noticed, the node is gone');
$node->restart;
$node->wait_up;
$t->wait_for(sub { !wrong() }, 20, 'the node is asked');
is(wrong(), 0, 'wrong positions: the node is asked');

# The next start of the indexer finds out.
$t->stop_indexer;
$t->start_indexer($node->indexer_conf, %conf);
$t->wait_ready($node->height);
$t->wait_for(sub { ($t->read_file($file) // '') eq $good }, 20,
    'positions made anew');
$node->stop;
$t->wait_for(sub { !wrong() }, 20, 'block files are read again');
is(wrong(), 0, 'positions are made anew');

# Files that are gone (pruned): the node is asked, and is not there.
my $blk = "$conf{blocks_dir}/blk00000.dat";
rename $blk, "$blk.away" or die "rename: $!";
$t->stop_nginx;
$t->start_nginx;
$c = $t->client('tcp');
is(wrong(), scalar keys %raw, 'no files, no node: errors');
rename "$blk.away", $blk or die "rename: $!";
$node->restart;
$node->wait_up;
$t->wait_for(sub { !wrong() }, 20, 'the node is asked again');
is(wrong(), 0, 'no files: the node is asked');
$t->done;
