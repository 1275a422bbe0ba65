#!/usr/bin/perl

# A call that changes a file fails: the n-th one, or several from there on, with
# "no space left" or "input/output error", half of a write being done.  The
# indexer says so and goes on by itself when the disk works again, or ends with an
# error; whatever it does, what is served then (after a restart, if it ended) is
# as the model says, and a full check of the index finds nothing.
#
# TEST_STEPS=n takes n steps of each phase (default 4).

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Errno qw(EIO ENOSPC);
use Time::HiRes qw(sleep);

my $STEPS = $ENV{TEST_STEPS} || 4;
my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $shim = compile_shim();
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$s->base;
$s->grow(20);
$node->generate(10);
srand $s->{seed};
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 3);
my ($c, $runs, %end);

subtest 'errors in the initial sync' => sub {
    new_directory();
    my $total = steps_of(sub { });
    for my $n (chosen(1, $total)) {
        new_directory();
        failing($n);
        recover("from step $n on");
        $t->stop_nginx;
        $t->stop_indexer;
        system 'rm', '-rf', $conf{data_dir};
    }
};
subtest 'errors while following and settling' => sub {
    new_directory();
    my $first = steps_of(sub { });
    my $total = steps_of(\&work);
    for my $n (chosen($first, $total)) {
        failing($n, \&work);
        recover("from step $n on");
        $t->stop_indexer;
    }
};
note join ', ', map {"$_ $end{$_}"} sort keys %end;
$t->done;

sub compile_shim {
    my $so = $t->path('killat.so');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', qw(-D_GNU_SOURCE -shared -fPIC -O1 -o), $so,
        "$ElectrumX::Test::ROOT/t/data/killat.c", '-ldl']);
    die "cc: $out" if $status != 0;
    return $so;
}

sub new_directory {
    $runs++;
    $conf{data_dir} = $t->path("data-$runs");
}

sub start_shimmed {
    my (%env) = @_;
    my %san = $t->san_env;
    unlink $t->path('count');
    return $t->start_indexer(%conf, _env => {
        LD_PRELOAD => $shim, KILLAT_COUNT => $t->path('count'), %env,
        ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" });
}

# How many calls there are until it is ready and the work is done.
sub steps_of {
    my ($work) = @_;
    start_shimmed();
    $t->wait_ready($node->height);
    $work->();
    $t->wait_ready($node->height);
    my $n = 0 + $t->read_file('count');
    $t->stop_indexer;
    return $n;
}

sub chosen {
    my ($from, $to) = @_;
    my $each = ($to - $from) / $STEPS;
    return map { 1 + int($from + $each * ($_ + rand)) } 0 .. $STEPS - 1;
}

# Some fail once, some for a while.
sub failing {
    my ($n, $work) = @_;
    my $errno = rand() < 0.5 ? EIO : ENOSPC;
    my $times = rand() < 0.5 ? 1 : 1 + int rand 30;
    note "step $n, $times times error $errno";
    my $p = start_shimmed(KILLAT => $n, KILLAT_ERRNO => $errno,
        KILLAT_TIMES => $times);
    $work->($p) if $work;
    eval { $t->wait_for(sub { !$p->running
            || (($t->status || {})->{state} // '') eq 'ready'
            && $t->status->{height} == $node->height
            && $t->read_file('count') >= $n }, 4, 'ready or ended') };
    my $ended = !$p->running;
    $end{ $ended ? 'ended' : 'went on' }++;
    $t->allow_exit($p->name) if $ended;
    like($t->read_file('indexer.log'), qr/ (error|warn) /,
        'it has said why') if $ended;
}

sub work {
    my ($p) = @_;
    for my $i (1 .. 7) {
        return if $p && !$p->running;
        $i == 3 ? $s->grow(1, exactly => 5) : $node->generate(1);
        sleep 0.02;
    }
}

sub nginx {
    $t->stop_nginx if $t->proc('nginx') && $t->proc('nginx')->running;
    $t->start_nginx(workers => 1);
    $c = $t->client('tcp', timeout => 20);
    $c->version('1.6');
}

sub recover {
    my ($name) = @_;
    # It tries again every 10 s, which takes long where many calls fail; then
    # the disk is as good after a restart.
    if ($t->proc('indexer')->running
        && !eval { $t->wait_ready($node->height, 12) })
    {
        is($t->stop_indexer, 0, 'it ends when told to');
    }
    if (!$t->proc('indexer')->running) {
        $t->start_indexer(%conf);
    }
    $t->wait_ready($node->height, 40);
    nginx();
    my $p = $s->settled($c);
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    my @sh = $p->scripthashes;
    my @tx = $p->all_txids;
    $cmp->scripts(map { $sh[rand @sh] } 1 .. 40);
    $cmp->transactions(map { $tx[rand @tx] } 1 .. 40);
    $cmp->ok($name);
    my $conf = $t->indexer_conf('check', %conf);
    my $out = `@{[$t->build]}/electrumx-indexer check --full -c $conf 2>&1`;
    is($? >> 8, 0, 'a full check finds nothing') or diag $out;
}
