#!/usr/bin/perl

# Random queries during reorganisations: each answer belongs to the old or to
# the new chain as a whole, also the answers of one batch together, and a
# connection that has seen the new chain never sees the old one again.
#
# Two branches of equal work, A and B, share some transactions (at other
# heights), contradict each other in some and differ in the rest.  The node is
# flipped between them (preciousblock: one step for its RPC), so both pictures
# are known beforehand and every answer can be told to belong to A, B, or none.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();
use Time::HiRes qw(time);

my $BLOCKS = 6;
my $FLIPS = $ENV{TEST_FLIPS} || 12;
my $JSON = JSON::PP->new->canonical->allow_nonref;
my $S = 'blockchain.scripthash';
my $T = 'blockchain.transaction';

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => $ENV{TEST_SEED} // 400);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(20, standard => 1);
$node->generate(3);

my %branch;    # name => { tip, picture }
make_branches();
settle_mempools();
my @scripts = differing_scripts();
cmp_ok(scalar @scripts, '>', 20, 'scripts that differ in the two pictures');
$s->serve(indexer => { live_window => 50 }, nginx => { workers => 2 });
my @clients = map { my $c = $t->client($_, timeout => 20);
    $c->version('1.6'); $c } qw(tcp ws tcp tls);
ElectrumX::Compare::wait_same($t, $_, $branch{A}{picture}, 20) for @clients;

my %total = (old => 0, new => 0, both => 0, none => 0, mixed => 0, back => 0);
my ($from, $to) = ('A', 'B');
for my $flip (1 .. $FLIPS) {
    flip($from, $to);
    ($from, $to) = ($to, $from);
}
note join ', ', map {"$_ $total{$_}"} sort keys %total;
cmp_ok($total{queries}, '>=', 1000, 'queries');
cmp_ok($total{old}, '>', 0, 'answers of the old chain only');
cmp_ok($total{new}, '>', 0, 'answers of the new chain only');
is($total{none}, 0, 'answers that belong to neither chain');
is($total{mixed}, 0, 'batches that mix the chains');
is($total{back}, 0, 'answers of the old chain after one of the new');
$t->done;

# ---- the two branches -------------------------------------------------------

sub make_branches {
    $s->rescan;
    $coins->{height} = $node->height;
    my @a;
    push @a, $coins->random(standard => 1) for 1 .. 20;
    my @pool = map { {%$_} } @{ $coins->{pool} };    # before A goes on alone
    push @a, $coins->random(standard => 1) for 1 .. 50;
    $coins->{pool} = \@pool;
    my @b;
    push @b, $coins->random(standard => 1) for 1 .. 50;
    my $fork = $node->height;
    mine_branch(@a);
    $branch{A}{tip} = $node->tip;
    my $first = $node->hash_at($fork + 1);
    $node->rpc('invalidateblock', $first);
    $node->generate_block([]);    # the shared ones stand one block later
    mine_branch(@a[0 .. 19], @b);
    $branch{B}{tip} = $node->tip;
    $node->rpc('reconsiderblock', $first);
}

# The transactions over the blocks left up to the length of the branch.
sub mine_branch {
    my (@txs) = grep {defined} @_;
    $s->{fork} //= $node->height;
    my $n = $s->{fork} + $BLOCKS - $node->height;
    for my $i (1 .. $n) {
        my @part = splice @txs, 0, int(@txs / ($n - $i + 1) + 0.999);
        $node->generate_block([map { $_->{hex} } @part]);
    }
    is($node->height, $s->{fork} + $BLOCKS, 'length of the branch');
}

sub activate {
    my ($name) = @_;
    $node->rpc('preciousblock', $branch{$name}{tip});
    is($node->tip, $branch{$name}{tip}, "node is on $name");
}

# Flips until each branch finds the same mempool each time.
sub settle_mempools {
    my ($last, $now) = ('', '');
    for (1 .. 5) {
        for my $name (qw(B A)) {
            activate($name);
            $branch{$name}{picture} = $s->{model}->picture;
        }
        $now = join ' ', map { $branch{$_}{picture}->mempool_txids } qw(A B);
        last if $now eq $last;
        $last = $now;
    }
    is($now, $last, 'mempools are always the same');
    note "$_: ", scalar(my @x = $branch{$_}{picture}->mempool_txids),
        ' in the mempool' for qw(A B);
}

sub differing_scripts {
    my ($a, $b) = map { $branch{$_}{picture} } qw(A B);
    my %all = map { $_ => 1 } $a->scripthashes, $b->scripthashes;
    return grep { ($a->status($_) // '') ne ($b->status($_) // '') }
        sort keys %all;
}

# ---- queries ----------------------------------------------------------------

# A query and its answer in each picture.
sub random_query {
    my $sh = $scripts[rand @scripts];
    my $h = $s->{fork} + 1 + int rand $BLOCKS;
    my $dice = int rand 12;
    return script_query($dice, $sh) if $dice < 6;
    return header_query($dice, $h) if $dice < 9;
    return tx_query($dice, $h);
}

sub script_query {
    my ($dice, $sh) = @_;
    my ($method, $model) = @{ [
        ['get_history', 'history'], ['get_balance', 'balance'],
        ['get_mempool', 'mempool'], ['listunspent', 'unspent'],
        ['get_history', 'history'], ['subscribe', 'status']]->[$dice] };
    return { call => ["$S.$method", $sh],
        norm => $dice == 3 ? \&ElectrumX::Compare::sort_unspent : undef,
        answers => both(sub {
            my $x = $_[0]->$model($sh);
            return $dice == 3 ? ElectrumX::Compare::sort_unspent($x) : $x;
        }) };
}

sub header_query {
    my ($dice, $h) = @_;
    return { call => ['blockchain.headers.subscribe'],
        answers => both(sub { { height => $_[0]{height},
            hex => $_[0]->header($_[0]{height}) } }) } if $dice == 6;
    my $top = $s->{fork} + $BLOCKS;
    my $cp = $h + int rand $top - $h + 1;
    return { call => ['blockchain.block.header', $h, $cp],
        answers => both(sub { $_[0]->header_proof($h, $cp) }) }
        if $dice == 7;
    return { call => ['blockchain.block.headers', $h - 3, 4, $top],
        answers => both(sub { $_[0]->headers($h - 3, 4, $top, '1.6') }) };
}

sub tx_query {
    my ($dice, $h) = @_;
    my $p = $branch{ (qw(A B))[rand 2] }{picture};
    my @txids = $p->txids($h);
    my $pos = int rand @txids;
    my $txid = $txids[$pos];
    return { call => ["$T.id_from_pos", $h, $pos, JSON::PP::true()],
        answers => both(sub { [$_[0]->txids($h)]->[$pos]
            ? $_[0]->id_from_pos($h, $pos) : 'error' }) } if $dice == 9;
    return { call => ["$T.get_merkle", $txid, $h],
        answers => both(sub { (($_[0]->where($txid))[0] // -1) == $h
            ? $_[0]->merkle($txid) : 'error' }) } if $dice == 10;
    return { call => ["$T.get", $txid],
        answers => both(sub { $_[0]->has_tx($txid)
            ? $_[0]->raw($txid) : 'error' }) };
}

sub both {
    my ($code) = @_;
    return { map { $_ => $JSON->encode($code->($branch{$_}{picture})) }
        qw(A B) };
}

# ---- one flip ---------------------------------------------------------------

# Starts the change in the node without waiting, and queries until every
# connection has seen the new chain, then somewhat longer.
sub flip {
    my ($old, $new) = @_;
    my %seen;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        delete $node->{sock};
        select undef, undef, undef, 0.03;
        eval { $node->rpc('preciousblock', $branch{$new}{tip}) };
        require POSIX;
        POSIX::_exit($@ ? 1 : 0);
    }
    my ($end, $after) = (time + 20, 15);
    while (time < $end) {
        my $i = int rand @clients;
        rand() < 0.3 ? ask_batch($i, $old, $new, \%seen)
            : ask($i, $old, $new, \%seen);
        last if keys %seen == @clients && !$after--;
    }
    waitpid $pid, 0;
    is($?, 0, "node flipped to $new");
    is(scalar keys %seen, scalar @clients, 'all connections saw it');
}

# Which pictures an answer fits.
sub fits {
    my ($q, $answer, $old, $new) = @_;
    my $got = $answer->{error} ? 'error' : $answer->{result};
    $got = $q->{norm}->($got) if $q->{norm};
    $got = $JSON->encode($got);
    my %fit = map { $_ => 1 } grep { $q->{answers}{$_} eq $got } $old, $new;
    diag("neither: " . $JSON->encode($q->{call}) . "\n got $got"
            . "\n $old $q->{answers}{$old}\n $new $q->{answers}{$new}")
        if !%fit && $total{none}++ < 5;
    return \%fit;
}

sub count {
    my ($i, $fit, $old, $new, $seen) = @_;
    if ($fit->{$old} && $fit->{$new}) {
        $total{both}++;
    }
    elsif ($fit->{$new}) {
        $total{new}++;
        $seen->{$i} = 1;
    }
    elsif ($fit->{$old}) {
        $total{old}++;
        $total{back}++ if $seen->{$i};
    }
}

sub ask {
    my ($i, $old, $new, $seen) = @_;
    my $q = random_query();
    $total{queries}++;
    my $answer = $clients[$i]->request(@{ $q->{call} });
    count($i, fits($q, $answer, $old, $new), $old, $new, $seen);
}

sub ask_batch {
    my ($i, $old, $new, $seen) = @_;
    my @q = map { random_query() } 1 .. 6;
    $total{queries} += @q;
    my $answers = $clients[$i]->batch(map { $_->{call} } @q);
    my @fits = map { fits($q[$_], $answers->[$_], $old, $new) } 0 .. $#q;
    my %all = map { my $n = $_; $n => !grep { !$_->{$n} } @fits } $old, $new;
    $total{mixed}++ if !$all{$old} && !$all{$new};
    count($i, { map { $_ => 1 } grep { $all{$_} } keys %all }, $old, $new,
        $seen);
}
