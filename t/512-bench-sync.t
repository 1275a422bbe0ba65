#!/usr/bin/perl

# t/bench/sync.pl with a short chain: that it works and prints every figure;
# no time is judged.  Then that the initial sync keeps to its memory where it
# would not by itself: under RLIMIT_DATA, with a control that breaks it.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Proc;

my $t = ElectrumX::Test->new(needs => [qw(indexer bitcoind bench)]);
my $build = $t->build;
my $nodes = ElectrumX::Test::nodes_dir();
# A sanitizer's shadow memory is far beyond any such limit.
my $limits = ($t->read_file("$build/electrumx-indexer") // '') !~ /__asan_init/;
my @parts = (qw(files rest rpc spender), $limits ? 'memory128' : (), 'double');

sub run {
    my ($timeout, %o) = @_;
    return ElectrumX::Proc->run(timeout => $timeout, env => { $t->san_env },
        %o);
}

subtest 'as make bench-sync runs it' => sub {
    my ($out, $status) = run(600, cmd => [$^X, 't/bench/sync.pl', '--txs',
        30000, '--parts', join(',', @parts), '--dir', $t->path('bench'),
        '--keep', '--build', $build, '--nodes', $nodes]);
    is($status, 0, 'exit status') or diag($out);
    like($out, qr/^machine: \d+ cores/m, 'the machine');
    for my $part (@parts) {
        my ($row) = $out =~ /^\| $part \| ([\d.]+ \|.*)$/m;
        my @f = split / \| | \|$/, $row // '';
        is(scalar @f, 11, "$part: a row of figures") or diag($out);
        cmp_ok($f[0], '>', 0, 'time');
        cmp_ok($f[4], '>', 5, 'memory');
        cmp_ok($f[6], '>', 80, 'temporary files, bytes a transaction');
        cmp_ok($f[8], '>', 90, 'index, bytes a transaction');
        like($out, qr/^\| $part \| [\d.]+ \([\d.]+\) \|(?: [\d.]+ \([\d.]+\) \|){5}$/m,
            'by phase');
        like($out, qr/^\| \Q$part\E: peak memory, MB \| at most \d+ \| \d+ \| (?:met|MISSED) \|$/m,
            'target of memory');
    }
    like($out, qr/^\| $_ \| at (?:least|most) [\d.]+ \| [\d.]+ \| (?:met|MISSED) \|$/m, $_)
        for 'files: transactions a second', 'rest: transactions a second',
        'files: index, bytes a transaction',
        'spender: index, bytes a transaction',
        'double: times the time of half the chain';
    my $log = $t->read_file('bench/indexer.log');
    like($log, qr{ info progress: $_ [\d.]+ %, block \d+ of \d+(?: \(\d{4}-\d\d-\d\d\))?, (?:\d+ tx/s, )?[\d.]+ MB/s, ETA },
        "progress in the log: $_")
        for 'reading blocks \(1 of 4\)', 'joining \(2 of 4\)';
    ($out, $status) = run(60, cmd => [$^X, 't/bench/sync.pl', '--parts',
        'nonsense']);
    isnt($status, 0, 'a part that does not exist');
};

# 16 MB for 400,000 transactions of which most outputs stay unspent.
subtest 'memory' => sub {
    my $file = $t->path('chain.dat');
    my ($out, $status) = run(300, cmd => ["$build/bench/chaingen", '--out',
        $file, '--with-genesis', '--blocks', 1000, '--txs-per-block', 400,
        '--utxo-growth', 1.6, '--end-time', 1700000000]);
    is($status, 0, 'a chain') or diag($out);
    my %peak;
    for my $memory (16, 1024) {
        my $dir = $t->path("bulk-$memory");
        ($out, $status) = run(300, cmd => ["$build/bench/bench_bulk", $file,
            $dir, $memory, 2]);
        is($status, 0, "bulk sync with $memory MB") or diag($out);
        ($peak{$memory}) = $out =~ /peak memory\D+(\d+)/;
        run(60, cmd => ['rm', '-rf', $dir]);
    }
    note("peaks: $peak{16} MB, $peak{1024} MB");
    return if !$limits;
    my $limit = 48 << 20;
    for my $memory (16, 1024) {
        my $dir = $t->path("limit-$memory");
        ($out, $status) = run(300, data => $limit, cmd => [
            "$build/bench/bench_bulk", $file, $dir, $memory, 2]);
        if ($memory == 16) {
            is($status, 0, 'works within 48 MB') or diag($out);
        } else {
            isnt($status, 0, 'which is not enough when it may have more');
        }
        run(60, cmd => ['rm', '-rf', $dir]);
    }
};

$t->done;
