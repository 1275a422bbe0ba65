#!/usr/bin/perl
# A short form of "make bench-serve": every kind of request over TCP and
# WebSocket, two workers, idle connections, a block and a reload, look-ups with
# a cold cache, blocks that are settled, and not one answer that is not a result;
# every figure stands beside its target.  Times are not looked at.  Then the
# same directory again, and the same requests to "another" server.
use lib qw(t/lib t/bench);
use ElectrumX::Test;
use Figures;
use POSIX qw(mkfifo);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $build = $t->build;

my $make = join ' ', 'make -s', "BUILD=$build", 'bench', '2>&1';
my $out = `$make`;
is($?, 0, 'make bench') or diag($out);

my $run = "$^X -It/lib -It/bench t/bench/serve.pl --txs 30000 --per_block 100"
    . " --repeat 1 --seconds 0.3 --warmup 0.1 --idle 300 --after 40"
    . " --look-ups 300 --dir " . $t->path('serve');
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
like("@lines", qr/cold get_$_: 300 scripts of 2 entries, [\d.]+ reads each/,
    "$_: cold") for qw(history balance);
like("@lines", qr/40 blocks of \d+ transactions settled/, 'more blocks');
my @rows = read_figures(join '', @lines);
my %verdict = map { $_->[0] => $_->[3] } @rows;
for my $what ('server.ping', 'get_merkle (800), WebSocket', 'two workers',
    'an idle ws connection', 'a block that touches 300 of 300: last one told',
    'reload: 300 back and subscribed', 'cold get_history: reads',
    "cold get_balance: another client's ping, p99",
    'transaction.get (400 B) after 40 settled blocks')
{
    like($verdict{$what} // 'no row', qr/^(?:ok|missed)$/, "$what: a target");
}
is(scalar(grep { "@$_" =~ /not measured/ } @rows), 0, 'all are measured');

# What "after" and "block" did is undone.
my $fifo = $t->path('fifo');
mkfifo($fifo, 0600) or die "$fifo: $!";
open my $stdin, '+<', $fifo or die "$fifo: $!";
my $hold = $t->start('hold', stdin => $fifo, death => 'TERM',
    cmd => [split(' ', $run), '--hold']);
my ($height, $server, $pids);
$t->wait_for(sub {
    ($height, $server, $pids) = ($t->read_file('hold.log') // '') =~
        /height (\d+)\nserver: (\S+), process (\S+)\n/;
}, 120, 'it serves');
is($height, 410, 'the chain as it was');
@lines = `$run --peer $server --peer-pid $pids 2>&1`;
is($?, 0, 'no request to it fails') or diag(@lines);
my @us = map { /^\S.* ([\d.]+) +([\d.]+) +\d+ +\d+$/ ? "$1 $2" : () } @lines;
is(scalar @us, 8, 'a line for each kind of request') or diag(@lines);
is(scalar(grep {/\b0\.00\b/} @us), 0, 'with its CPU time') or diag(@lines);
close $stdin;
$t->allow_exit('hold');
is($hold->wait(60), 0, 'it ends with its stdin');
$t->done;
