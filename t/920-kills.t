#!/usr/bin/perl

# Random SIGKILLs of the indexer and of nginx's workers during traffic: blocks,
# reorganisations, a changing mempool, settling every other block.  Each batch
# of answers names the tip it was made at and must be the truth for that tip, as
# the node's own RPC told it.  At the end the index is equal to one that was
# made without a kill.
#
# KILLS=n kills in all (default 1000).

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $KILLS = $ENV{KILLS} || 1000;
my $KEEP = 400;    # pictures
my $JSON = JSON::PP->new->canonical->allow_nonref;
my $S = 'blockchain.scripthash';

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t);
my $node = $s->{node};
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 2,
    spender => 'on');
$s->base;
$s->heavy(1100);
$s->grow(40);

my (%picture, @order, %n, @start);
my $now = look();
my @scripts = $now->scripthashes;
srand $s->{seed};
$t->start_indexer(%conf);
$t->wait_ready($node->height, 60);
$t->start_nginx(workers => 2);
$t->allow_alert(qr/worker process \d+ exited on signal 9/);
my %client;

for (my $kills = 0; $kills < $KILLS; $kills++) {
    act();
    ask() for 1 .. 1 + int rand 4;
    $kills % 3 == 2 ? kill_worker() : kill_indexer();
    ask() for 1 .. 1 + int rand 4;
    note "$kills kills, " . join ', ', map {"$_ $n{$_}"} sort keys %n
        if $kills % 50 == 49;
}
ok($t->wait_ready($node->height, 60), 'ready after the last kill');
ask() for 1 .. 100;
note join ', ', map {"$_ $n{$_}"} sort keys %n;
cmp_ok($n{kills}, '>=', $KILLS, "$n{kills} kills");
cmp_ok($n{answers}, '>', 5 * $KILLS, "$n{answers} answers");
is($n{wrong} // 0, 0, 'wrong answers');
is($n{errors} // 0, 0, 'errors');
cmp_ok($n{unknown} // 0, '<=', $n{answers} / 100, 'tips that the test missed');
@start = sort { $a <=> $b } @start;
note sprintf 'restart to ready: median %.2f s, 99 %% %.2f s, most %.2f s',
    map { $start[$_ * $#start] } 0.5, 0.99, 1;

$t->stop_nginx;
$t->stop_indexer;
my $killed = digest($t->data);
$t->start_indexer(%conf, data_dir => $t->path('fresh'), settle_batch => 1000);
$t->wait_ready($node->height, 60);
$t->stop_indexer;
is($killed, digest($t->path('fresh')), 'the index is one without kills');
$t->done;

# ---- truth ------------------------------------------------------------------

sub look {
    my $p = $s->{model}->picture;
    my $tip = $node->hash_at($p->{height});
    push @order, $tip if !$picture{$tip};
    $picture{$tip} = $p;
    delete $picture{ shift @order } if @order > $KEEP;
    return $p;
}

# Something happens to the chain.
sub act {
    my $dice = rand;
    if ($dice < 0.15) {
        my $depth = 1 + int rand 4;
        $node->rpc('invalidateblock', $node->hash_at($node->height - $depth));
        look();
        for (1 .. $depth + 2) {
            $node->generate(1);
            look();
        }
        $s->rescan;
        $n{reorgs}++;
    }
    elsif ($dice < 0.75) {
        $s->{coins}->mine(1 + int rand 6);
        $s->rescan;
        $n{blocks}++;
    }
    elsif ($dice < 0.9) {
        $s->fill_mempool(3);
    }
    $now = look();
    @scripts = $now->scripthashes if rand() < 0.1;
}

# ---- questions --------------------------------------------------------------

sub client {
    my ($kind) = @_;
    for (1 .. 50) {
        my $c = $client{$kind} //= eval {
            my $c = $t->client($kind, timeout => 20);
            $c->version('1.6');
            $c;
        };
        return $c if $c;
        sleep 0.05;
    }
    die "no connection: $@";
}

sub confirmed {
    my ($history) = @_;
    return [map { +{ tx_hash => $_->{tx_hash}, height => $_->{height} } }
        grep { $_->{height} > 0 } @$history];
}

sub question {
    my $sh = $scripts[rand @scripts];
    my $dice = int rand 4;
    return { call => ["$S.get_history", $sh], norm => \&confirmed,
        truth => sub { confirmed($_[0]->history($sh)) } } if $dice == 0;
    return { call => ["$S.get_balance", $sh],
        norm => sub { "$_[0]{confirmed}" },
        truth => sub { '' . $_[0]->balance($sh)->{confirmed} } } if $dice == 1;
    my $h = 1 + int rand $now->{height} - 8;
    return { call => ['blockchain.block.header', $h],
        truth => sub { $_[0]->header($h) } } if $dice == 2;
    my @txids = $now->txids($h);
    my $pos = int rand @txids;
    return { call => ['blockchain.transaction.id_from_pos', $h, $pos,
            JSON::PP::true()],
        truth => sub { [$_[0]->txids($h)]->[$pos]
            ? $_[0]->id_from_pos($h, $pos) : 'error' } };
}

sub ask {
    my $kind = (qw(tcp ws tls))[rand 3];
    my $c = client($kind);
    my @q = map { question() } 1 .. 6;
    my $answers = eval {
        $c->batch(['blockchain.headers.get_tip'], map { $_->{call} } @q);
    };
    if (!$answers) {    # its worker was killed
        $n{dropped}++;
        delete $client{$kind};
        return;
    }
    my $tip = shift @$answers;
    if ($tip->{error}) {
        diag $JSON->encode($tip->{error}) if $n{errors}++ < 5;
        return;
    }
    my $hash = unpack 'H*', reverse ElectrumX::Tx::sha256d(
        substr pack('H*', $tip->{result}{hex}), 0, 80);
    my $p = $picture{$hash};
    if (!$p) {
        $n{unknown}++;
        return;
    }
    compare($p, $q[$_], $answers->[$_]) for 0 .. $#q;
}

sub compare {
    my ($p, $q, $answer) = @_;
    my $got = $answer->{error} ? 'error' : $answer->{result};
    $got = $q->{norm}->($got) if $q->{norm} && $got ne 'error';
    my ($g, $w) = map { $JSON->encode($_) } $got, $q->{truth}->($p);
    $n{answers}++;
    return if $g eq $w;
    diag 'wrong: ' . $JSON->encode($q->{call}) . "\n got $g\n want $w"
        if $n{wrong}++ < 5;
}

# ---- kills ------------------------------------------------------------------

sub kill_indexer {
    sleep rand 0.1;
    $t->kill_indexer;
    $n{kills}++;
    ask() if rand() < 0.5;
    my $begin = time;
    $t->start_indexer(%conf);
    if (rand() < 0.2) {
        sleep rand 0.3;    # in the middle of its start
        $t->kill_indexer;
        $n{kills}++;
        $begin = time;
        $t->start_indexer(%conf);
    }
    return if rand() < 0.3;
    $t->wait_ready($node->height, 60);
    push @start, time - $begin;
}

sub kill_worker {
    my @pids = $t->worker_pids;
    return if !@pids;
    kill KILL => $pids[rand @pids];
    $n{kills}++;
}

sub digest {
    my ($dir) = @_;
    my $conf = $t->indexer_conf('check', %conf, data_dir => $dir);
    my $out = join '', map { `@{[$t->build]}/electrumx-indexer check $_ -c $conf` }
        '--digest';
    is($? >> 8, 0, 'full check');
    return $out =~ s/^generation.*\n//r;
}
