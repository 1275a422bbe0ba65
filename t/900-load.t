#!/usr/bin/perl
# A short form of "make bench-serve": every kind of request over TCP and
# WebSocket, two workers, idle connections, a block and a reload, and not one
# answer that is not a result.  Times are not looked at.
use lib 't/lib';
use ElectrumX::Test;
use File::Temp ();

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $build = $t->build;

my $make = join ' ', 'make -s', "BUILD=$build", 'bench', '2>&1';
my $out = `$make`;
is($?, 0, 'make bench') or diag($out);

my $run = "$^X -It/lib -It/bench t/bench/serve.pl --txs 30000 --per_block 100"
    . " --repeat 1 --seconds 0.3 --warmup 0.1 --idle 300 --dir " . $t->path('serve');
my @lines = `$run 2>&1`;
is($?, 0, 'no request fails') or diag(@lines);
for my $name ('server.ping', 'block.header', 'get_history', 'get_balance',
    'listunspent', 'subscribe', 'transaction.get', 'get_merkle')
{
    like("@lines", qr/^\s*\Q$name\E\s.*\d/m, "$name: a line");
}
is(scalar(grep {/idle \w+ connections/} @lines), 5, 'idle connections');
like("@lines", qr/a block touches 300 of them/, 'all were told of a block');
like("@lines", qr/all back and subscribed/, 'all came back after a reload');
$t->done;
