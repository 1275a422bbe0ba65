#!/usr/bin/perl

# The indexer dies at a chosen step: in the middle of the n-th call that changes
# a file (a write half done, a rename, link, sync, mkdir just before or just
# after it is done), once in the initial sync, once while it follows and settles
# and once while it tidies.  After a normal restart everything is as the model
# says.
#
# TEST_STEPS=n takes n steps of each phase (default 16; tidying: half of it).

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $STEPS = $ENV{TEST_STEPS} || 16;
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $shim = compile_shim();
my $s = ElectrumX::Scenario->new($t, seed => 430, free_only => 1);
my $node = $s->{node};
$s->base;
$s->grow(20);
$node->generate(10);
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 3);
my ($c, $runs);

subtest 'killed at a step of the initial sync' => \&in_sync;
subtest 'killed at a step of following and settling' => \&in_following;
subtest 'killed at a step of tidying' => \&in_tidying;
$t->done;

# ---- the shim ---------------------------------------------------------------

sub compile_shim {
    my $so = $t->path('killat.so');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', qw(-D_GNU_SOURCE -shared -fPIC -O1 -o), $so,
        "$ElectrumX::Test::ROOT/t/data/killat.c", '-ldl']);
    die "cc: $out" if $status != 0;
    return $so;
}

# The indexer with the shim; it dies at step $n, or counts if $n is undef.
# $from: text of its log from which steps count.
sub start_shimmed {
    my ($n, $after, $from) = @_;
    my %san = $t->san_env;
    unlink $t->path('count');
    return $t->start_indexer(%conf, _env => {
        LD_PRELOAD => $shim, KILLAT_COUNT => $t->path('count'),
        KILLAT => $n, KILLAT_AFTER => $after ? 1 : undef,
        KILLAT_FROM => $from,
        ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" });
}

sub count { return 0 + ($t->read_file('count') // 0) }

# ---- phases -----------------------------------------------------------------

sub new_directory {
    $runs++;
    $conf{data_dir} = $t->path("data-$runs");
}

# Evenly over all steps, with a random offset.
sub chosen {
    my ($total, $steps) = @_;
    my $each = $total / ($steps // $STEPS);
    $each = 1 if $each < 1;
    my ($n, @n) = rand $each;
    for (; $n < $total; $n += $each) {
        push @n, 1 + int $n;
    }
    return @n;
}

sub in_sync {
    new_directory();
    start_shimmed();
    $t->wait_ready($node->height);
    my $total = count();
    is($t->stop_indexer, 0, 'counted');
    cmp_ok($total, '>', 20, "$total steps");
    for my $n (chosen($total)) {
        new_directory();
        my $p = start_shimmed($n, $n % 2);
        die_or_ready($p, $n);
        recover("step $n", $runs % 8 == 0);
        $t->stop_nginx;
        $t->stop_indexer;
        system 'rm', '-rf', $conf{data_dir};
    }
}

# It dies by the shim; it may also be ready before (threads change the order).
sub die_or_ready {
    my ($p, $n) = @_;
    $t->wait_for(sub { !$p->running
            || (($t->status || {})->{state} // '') eq 'ready'
            && count() < $n }, 30, "end of step $n");
    $p->kill_hard if $p->running;
    $t->allow_exit($p->name);
}

sub in_following {
    new_directory();
    $t->start_indexer(%conf);
    $t->wait_ready($node->height);
    $t->stop_indexer;
    start_shimmed();
    $t->wait_ready($node->height);
    my $first = count();
    work();
    $t->wait_ready($node->height);
    sleep 0.5;
    my $total = count();
    $t->stop_indexer;
    cmp_ok($total - $first, '>', 20, "$total steps, $first until ready");
    start_once();
    for my $n (chosen($total)) {
        $t->stop_indexer;
        my $p = start_shimmed($n, $n % 2);
        work($p);
        eval { $t->wait_for(sub { !$p->running }, 1, 'its end') };
        $p->kill_hard;
        $t->allow_exit($p->name);
        recover("step $n", $n % 8 == 0);
    }
    recover('at the end', 1);
}

# From the begin of a fold or a rewrite until what it made is published.
sub in_tidying {
    my $from = 'tidy: begin of a ';
    $t->stop_indexer;
    my $log = start_log();
    until_begun(start_shimmed(undef, 0, $from), $log);
    $t->wait_for(sub { $log->() =~ /tidy: end of a .*settled up to/s }, 30,
        'its end');
    my $total = count();
    cmp_ok($total, '>', 20, "$total steps");
    my $within = 0;
    # none has only two steps: one kill is within it for certain
    for my $n (2, chosen($total, $STEPS / 2)) {
        $t->stop_indexer;
        $log = start_log();
        my $p = start_shimmed($n, $n % 2, $from);
        until_begun($p, $log);
        eval { $t->wait_for(sub { !$p->running }, 5, 'its end') };
        $p->kill_hard;
        $t->allow_exit($p->name);
        my ($last) = $log->() =~ /.*tidy: (begin|end) of a /s;
        $within++ if ($last // '') eq 'begin';
        recover("step $n, after the " . ($last // 'settling'), $n % 4 == 0);
    }
    recover('at the end', 1);
    cmp_ok($within, '>', 0, "killed within it $within times");
}

# Settles until enough is new.
sub until_begun {
    my ($p, $log) = @_;
    for (1 .. 20) {
        work($p, 80);
        return if !$p->running || $log->() =~ /tidy: begin of a /;
    }
}

# What comes into the indexer's log from now on.
sub start_log {
    my $at = -s $t->path('indexer.log');
    return sub { substr $t->read_file('indexer.log'), $at };
}

sub start_once {
    $t->start_indexer(%conf);
    $t->wait_ready($node->height);
    nginx();
}

# Seven blocks, two settle batches; $n transactions are confirmed, some wait in
# the mempool.
sub work {
    my ($p, $n) = @_;
    for my $i (1 .. 7) {
        return if $p && !$p->running;
        $i == 3 ? $s->grow(1, exactly => $n // 5) : $node->generate(1);
        sleep 0.02;
    }
}

sub nginx {
    $t->stop_nginx if $t->proc('nginx') && $t->proc('nginx')->running;
    $t->start_nginx;
    $c = $t->client('tcp', timeout => 20);
    $c->version('1.6');
}

# Starts again without the shim and compares: all, or a sample.
sub recover {
    my ($name, $all) = @_;
    if (!$t->proc('indexer')->running) {
        $t->start_indexer(%conf);
    }
    $t->wait_ready($node->height, 30);
    nginx() if !$t->proc('nginx') || !$t->proc('nginx')->running;
    my $p = $s->settled($c);
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    my @sh = $p->scripthashes;
    my @tx = $p->all_txids;
    $all ? $cmp->all : do {
        $cmp->scripts(map { $sh[rand @sh] } 1 .. 40);
        $cmp->transactions(map { $tx[rand @tx] } 1 .. 40);
    };
    $cmp->ok($name);
}
