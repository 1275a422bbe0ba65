#!/usr/bin/perl

# Two containers on one index: readers whose process ids are the same in their
# own PID namespaces.  LMDB knows readers by that id: the second one is refused
# with a clear line in its log, the first is served on, rightly, and so is the
# second when the first has gone.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $HEADERS = 'blockchain.headers.subscribe';
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls root)]);
my $s = ElectrumX::Scenario->new($t, seed => 445, free_only => 1);
$s->base;
$s->grow(10);
$s->serve(indexer => { live_window => 10, settle_batch => 3 }, no_nginx => 1);
my @box = map { box($_) } 1, 2;
my ($one, $two) = map { $_->client('tcp') } @box;

is($one->call($HEADERS)->{height}, $s->{node}->height, 'the first is served');
like($two->error_of($HEADERS)->{message}, qr/not ready/, 'the second is not');
like($box[1]->read_file('nginx-error.log'),
    qr/another reader has the same process id, \d+: containers/, 'says why');
for (1 .. 8) {
    $s->grow(2);
    $t->wait_for(sub { $one->call($HEADERS)->{height} == $s->{node}->height },
        10, 'the first follows');
}
ElectrumX::Compare::wait_same($t, $one, $s->{model}->picture, 20);
ok($two->error_of($HEADERS), 'the second still is not');
$box[0]{all}[0]->kill_hard;
$t->wait_for(sub { !$two->error_of($HEADERS) }, 10, 'the second is served');
is($s->settled($two)->{height}, $s->{node}->height,
    'the second is served, rightly, when the first has gone');
$box[1]{all}[0]->kill_hard;
$t->done;

# nginx in a PID namespace of its own: the master is 1, its worker 2.
sub box {
    my ($i) = @_;
    my $b = ElectrumX::Test->new;
    $b->{data} = $t->data;
    $b->write_file('nginx.conf', $b->nginx_conf(workers => 1));
    mkdir $b->path('static');
    $b->start("box$i", cmd => ['unshare', '-pf', '--kill-child',
        ElectrumX::Test::nginx_program(), '-g', 'daemon off;', '-p', $b->dir,
        '-e', $b->path('nginx-error.log'), '-c', $b->path('nginx.conf')]);
    $b->wait_for(sub { $b->_answers($b->port('ws')) }, 10, "box $i answers");
    return $b;
}
