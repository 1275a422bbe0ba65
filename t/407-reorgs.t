#!/usr/bin/perl

# Reorganisations by table: so many blocks undone, so many made instead (also
# fewer, or none), alone, in a row, back again, under a changing mempool, while
# blocks settle, and deeper than the live window.  After each the client that
# subscribed is told of the tip and everything is as the model says.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $HEADERS = 'blockchain.headers.subscribe';
my $WINDOW = 250;
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 407);
my $node = $s->{node};
$s->base;
$s->grow(60);
$node->generate(160);
$s->grow(100, max => 4);
$s->serve(indexer => { live_window => $WINDOW, settle_batch => 5,
    keep_generations => 4 });
my $c = $t->client('tcp', timeout => 20);
$c->version('1.6');
$c->call($HEADERS);

# Undone, made instead, what else: before the reorganisation and in its midst.
my @CASES = (
    [1, 1, 'as high as before'], [1, 2, 'one block'], [6, 7, 'six'],
    [6, 7, 'six, transactions in the mempool', \&pool],
    [20, 21, 'of blocks with transactions, that go back to the mempool'],
    [100, 101, 'hundred'], [200, 201, 'two hundred'],
    [10, 7, 'a lower tip'], [12, 0, 'only undone'], [100, 40, 'much lower'],
    [8, 9, 'while blocks settle', \&settling],
);
for my $case (@CASES) {
    my ($undone, $made, $name, $before) = @$case;
    subtest "$undone to $made: $name" => \&one, $undone, $made, $before;
}
subtest 'there and back' => \&back;
subtest 'several in a row' => \&in_a_row;
subtest 'under a changing mempool' => \&under_load;
subtest 'deeper than the window' => \&deeper;
$t->done;

# ---- helpers ----------------------------------------------------------------

sub lines {
    my ($re) = @_;
    my @l = grep {/$re/} split /\n/, $t->read_file('indexer.log') // '';
    return @l;
}

# The client is told of the node's tip, then everything is compared.
sub compare {
    my ($name) = @_;
    my ($height, $tip) = ($node->height, $node->tip);
    $t->wait_for(sub { my $st = $t->status;
        $st->{state} eq 'ready' && $st->{height} == $height }, 60,
        "$name: followed");
    my $p = $s->settled($c);
    is($p->{height}, $height, "$name: height");
    is($c->call('blockchain.block.header', $height), $p->header($height),
        "$name: the tip's header");
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    my @sh = $p->scripthashes;
    my @tx = $p->all_txids;
    $cmp->scripts(map { $sh[rand @sh] } 1 .. 40);
    $cmp->transactions(map { $tx[rand @tx] } 1 .. 40);
    $cmp->ok("$name: as the model says");
}

sub told {
    my ($header) = @_;
    $t->wait_for(sub {
        my $n = eval { $c->notification($HEADERS, 0.1) } or return 0;
        return $n->[0]{hex} eq $header;
    }, 60, 'told of the new tip');
}

sub pool     { $s->fill_mempool(15) }

# Followed, and the last of them not settled yet.
sub settling {
    $node->generate(12);
    $t->wait_for(sub { $t->status->{height} == $node->height }, 20, 'followed');
}

# ---- cases ------------------------------------------------------------------

sub one {
    my ($undone, $made, $before) = @_;
    $before->() if $before;
    compare('before') if !$before || $before != \&settling;
    my @before = lines('reorganisation:');
    my $old = $node->tip;
    $node->reorg($undone, $made - $undone);
    my $tip = $node->rpc('getblockheader', $node->tip,
        ElectrumX::Node::FALSE());
    isnt($node->tip, $old, 'another tip');
    told($tip);
    compare('after');
    my @after = lines('reorganisation:');
    cmp_ok(scalar @after, '>', scalar @before, 'said so');
    my @fell = lines('going back');
    is("@fell", '', 'nothing settled was undone');
    $s->rescan;
}

# The same branches again and again: transactions that go, come, and stay.
sub back {
    pool();
    my $a = $node->hash_at($node->height - 4);
    my $tip = $node->tip;
    $node->reorg(5, 1, [map { [] } 1 .. 6]);
    compare('there');
    my $other = $node->hash_at($node->height - 5);
    for (1 .. 3) {
        $node->rpc('invalidateblock', $other);
        $node->rpc('reconsiderblock', $a);
        compare('back');
        is($node->tip, $tip, 'the first branch');
        $node->rpc('reconsiderblock', $other);
        compare('there again');
    }
}

# Faster than they can be followed.
sub in_a_row {
    for my $n (3, 1, 8, 2, 5, 30, 1, 4) {
        $node->reorg($n);
    }
    compare('eight');
    for (1 .. 10) {
        $node->reorg(2, -1);
        $node->generate(2);
    }
    compare('ten more');
}

sub under_load {
    for my $n (2, 6, 15) {
        $s->grow(3, max => 6);
        pool();
        $node->reorg($n);
        pool();
        $node->reorg($n, -1);
        pool();
        compare("$n");
    }
}

sub deeper {
    my $settled = $t->status->{settled_height};
    my $n = $node->height - $settled + 10;
    note "$n blocks, of which 10 are settled";
    $node->reorg($n);
    compare('after');
    my @fell = lines('going back to');
    is(scalar @fell, 1, 'went back to a generation') or diag "@fell";
    $s->grow(5);
    compare('and goes on');
}
