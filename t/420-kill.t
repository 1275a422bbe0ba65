#!/usr/bin/perl

# SIGKILL of the indexer at random moments: during the initial sync, while it
# settles, while it follows the tip and reorganisations.  After each restart it
# comes up by itself, and at the end every answer is compared with the model.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $SYNC_KILLS = 12;
my $FOLLOW_KILLS = 12;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 420);
my $node = $s->{node};
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 2);
$s->base;
$s->heavy(1100);
$s->grow(60);
$node->generate(10);

subtest 'killed while it syncs' => \&kill_in_sync;
$t->start_nginx;
my $c = $t->client('tcp', timeout => 30);
$c->version('1.6');
compare('after kills in the initial sync');
subtest 'killed while it settles and follows' => \&kill_following;
compare('after kills while following');
subtest 'killed again and again while it starts' => \&kill_at_start;
compare('after kills at start');
subtest 'nothing piles up' => \&no_leftovers;
$t->done;

sub start_indexer { $t->start_indexer(%conf) }

sub compare {
    my ($name) = @_;
    my $p = $s->settled($c);
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    $cmp->all;
    $cmp->ok($name);
}

# How long a whole sync takes here, then kills within that time, each time
# in the directory the last one left, now and then in a new one.
sub kill_in_sync {
    my %slow = $node->slow_conf(12);
    my $start = time;
    $t->start_indexer(%conf, %slow);
    $t->wait_ready($node->height, 60);
    my $whole = time - $start;
    note sprintf 'sync takes %.2f s', $whole;
    $t->kill_indexer;
    my %states;
    for my $round (1 .. $SYNC_KILLS) {
        fresh() if $round % 3 == 1;
        my $p = $t->start_indexer(%conf, %slow);
        my $wait = rand $whole / 2;
        if ($round % 3 == 1) {    # a new one: surely in the middle
            $t->wait_for(sub { (($t->status || {})->{state} // '')
                =~ /syncing|ready/ }, 10, 'syncing');
            $wait = $round == 1 ? 0 : rand $whole / 8;
        }
        sleep $wait;
        my $state = ($t->status || {})->{state} // 'none';
        $states{$state}++;
        ok($p->running, sprintf 'round %d: killed after %.3f s, state %s',
            $round, $wait, $state);
        $t->kill_indexer;
    }
    ok($states{syncing}, 'some of them in the middle of it');
    start_indexer();
    ok($t->wait_ready($node->height, 60), 'ready after the last kill');
}

sub fresh {
    my $dir = $t->data;
    is(system('rm', '-rf', $dir), 0, 'a new directory');
}

# Blocks, settling (every second block) and reorganisations, killed amid them.
sub kill_following {
    for my $round (1 .. $FOLLOW_KILLS) {
        $s->grow(1 + int rand 4, max => 12);
        $s->fill_mempool(5) if $round % 4 == 0;
        if ($round % 3 == 0) {
            $node->reorg(1 + int rand 5);
            $s->rescan;
        }
        sleep rand 0.15;
        ok($t->proc('indexer')->running, "round $round: runs");
        $t->kill_indexer;
        $s->grow(1 + int rand 3) if rand() < 0.5;
        start_indexer();
        $t->wait_ready($node->height, 30) if $round % 2;
    }
    ok($t->wait_ready($node->height, 30), 'ready after the last kill');
}

sub kill_at_start {
    for my $round (1 .. 10) {
        $t->kill_indexer;
        $s->grow(3) if $round % 4 == 0;
        start_indexer();
        sleep rand 0.25;
    }
    ok($t->wait_ready($node->height, 30), 'ready after the last kill');
}

sub no_leftovers {
    $t->stop_indexer;
    start_indexer();
    $t->wait_ready($node->height);
    my $data = $t->data;
    my ($live, $gen);
    $t->wait_for(sub {
        ($live, $gen) = map { [grep { -d } glob "$data/$_/*"] }
            qw(live generations);
        return @$live <= 2 && @$gen <= 8;
    }, 40, 'old directories removed');
    cmp_ok(scalar @$live, '<=', 2, 'live environments');
    cmp_ok(scalar @$gen, '<=', 8, 'generations');
    my @tmp = grep {/\.tmp$|dead\./} @$gen;
    is("@tmp", '', 'no half generations');
}
