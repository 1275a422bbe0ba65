#!/usr/bin/perl

# Settling is beside the tip: while a write to the disk takes seconds, or fails,
# new blocks and transactions are told at once, a reorganisation inside the
# window is followed, the indexer ends promptly; and nothing is lost by it.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $shim = compile_shim();
my $s = ElectrumX::Scenario->new($t, seed => 425);
my $node = $s->{node};
$s->base;
$s->grow(20);
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 3);
start_indexer();
$t->wait_ready($node->height);
$t->start_nginx;
my $c = $t->client('tcp');
$c->version('1.6');
$c->call('blockchain.headers.subscribe');

subtest 'a slow disk does not delay the tip' => \&slow;
subtest 'a reorganisation while a batch is being written' => \&reorg;
subtest 'one deeper than what is being settled' => \&deep;
subtest 'a full disk does not delay the tip' => \&full;
subtest 'stopped while a batch is being written' => \&stopped;
subtest 'killed while a batch is being written' => \&killed;
$t->done;

sub compile_shim {
    my $so = $t->path('slowdisk.so');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', qw(-D_GNU_SOURCE -shared -fPIC -O1 -o), $so,
        "$ElectrumX::Test::ROOT/t/data/slowdisk.c", '-ldl']);
    die "cc: $out" if $status != 0;
    return $so;
}

sub start_indexer {
    my %san = $t->san_env;
    return $t->start_indexer(%conf, _env => {
        LD_PRELOAD => $shim, SLOWDISK => $t->path('slowdisk'),
        ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" });
}

sub disk {
    my ($how) = @_;
    return unlink $t->path('slowdisk') if !defined $how;
    $t->write_file('slowdisk', $how);
}

sub settled_height { return ($t->status || {})->{settled_height} // 0 }

# Blocks until a batch is due; it is then under way, or has failed.
sub make_due {
    my ($how) = @_;
    disk(undef);
    wait_settled();
    my $had = settled_height();
    disk($how);
    $s->grow(1) while $node->height < $had + 10 + 3;
    return $had;
}

# Until nothing more is due.
sub wait_settled {
    $t->wait_for(sub { settled_height() >= $node->height - 10 - 2 }, 40,
        'settled');
}

# Seconds until the client is told of a new block, and of its height.
sub told_in {
    my $start = time;
    $node->generate(1);
    my $height = $node->height;
    $t->wait_for(sub {
        my $n = eval { $c->notification('blockchain.headers.subscribe', 0.05) }
            or return 0;
        return $n->[0]{height} == $height;
    }, 20, "told of block $height");
    return time - $start;
}

sub slow {
    my $had = make_due('6000');
    my @took = map { told_in() } 1 .. 3;
    note sprintf 'told in %s s', join ' ', map { sprintf '%.2f', $_ } @took;
    is(settled_height(), $had, 'the batch is still being written');
    cmp_ok($_, '<', 3, 'told meanwhile') for @took;
    $s->fill_mempool(3);
    $s->settled($c);
    is(settled_height(), $had, 'transactions are served meanwhile');
    is($t->status->{state}, 'ready', 'state');
    disk(undef);
    wait_settled();
    cmp_ok(settled_height(), '>', $had, 'settled when the disk has done it');
    $s->settled($c);
}

sub reorg {
    my $had = make_due('4000');
    $node->reorg(4);
    told_in();
    $s->settled($c);
    is(settled_height(), $had, 'the batch is still being written');
    disk(undef);
    wait_settled();
    $s->settled($c);
}

# Of more blocks than the window: the batch that is under way is of a chain that
# is no more.
sub deep {
    make_due('1500');
    $node->reorg(12);
    $node->generate(1);
    disk(undef);
    $t->wait_ready($node->height, 60);
    $s->rescan;
    $s->settled($c);
    is($t->status->{height}, $node->height, 'the new chain is served');
    $s->grow(8);
    wait_settled();
    $s->settled($c);
}

sub full {
    my $had = make_due('full');
    $t->wait_for(sub { ($t->status->{message} // '') =~ /no space left/ }, 20,
        'says: no space');
    like($t->status->{message}, qr/^settling: no space left/, 'says what');
    is($t->status->{state}, 'ready', 'goes on serving');
    cmp_ok(told_in(), '<', 3, 'told of a block') for 1, 2;
    is(settled_height(), $had, 'nothing was settled');
    my $log = $t->read_file('indexer.log');
    my @lines = $log =~ /state: ready: settling: no space/g;
    is(scalar @lines, 1, 'said once');
    disk(undef);
    wait_settled();
    is($t->status->{message}, '', 'all is well again');
    $s->settled($c);
}

sub stopped {
    my $had = make_due('30000');
    $t->wait_for(sub { -s $t->path('slowdisk') }, 5, 'slow');
    my $start = time;
    is($t->stop_indexer, 0, 'status 0');
    cmp_ok(time - $start, '<', 10, 'stopped at once');
    disk(undef);
    start_indexer();
    $t->wait_ready($node->height);
    wait_settled();
    $s->settled($c);
}

sub killed {
    make_due('30000');
    told_in();
    $t->kill_indexer;
    disk(undef);
    start_indexer();
    $t->wait_ready($node->height);
    $s->grow(4);
    wait_settled();
    is($s->settled($c)->{height}, $node->height, 'all is there');
}
