#!/usr/bin/perl

# What the benchmarks share: that "chaingen --after" makes the same chain in two
# files, with side files of the chain before and of all of it; and the rows in
# which figures stand beside their targets.

use lib qw(t/lib t/bench);
use ElectrumX::Test;
use ElectrumX::Proc;
use Figures;

my $t = ElectrumX::Test->new(needs => [qw(bench)]);

sub chaingen {
    my ($name, @more) = @_;
    my ($out, $status) = ElectrumX::Proc->run(timeout => 120,
        env => { $t->san_env }, cmd => [$t->build . '/bench/chaingen', '--out',
            $t->path($name), '--end-time', 1700000000, qw(--txs-per-block 20
            --growth 0 --samples 200), @more]);
    return ($status, $out);
}

sub side {
    my ($name) = @_;
    my %side = map { $_ => $t->read_file("$name$_") }
        qw(.samples.tsv .txs.tsv .utxos.tsv .json);
    $side{'.json'} =~ s/^\s*"(?:seconds|txs_per_second|max_rss_mb)".*\n//mg;
    return \%side;
}

subtest 'a chain in two files' => sub {
    is((chaingen('one', '--blocks', 300))[0], 0, 'in one');
    is((chaingen('two', '--blocks', 300, '--after', 60))[0], 0, 'in two');
    my ($first, $second) = map { $t->read_file($_) } 'two', 'two.after';
    ok($t->read_file('one') eq $first . $second, 'the same bytes');
    is_deeply(side('two.after'), side('one'), 'side files of all of it');
    my $before = side('two');
    like($before->{'.json'}, qr/"height": 240,/, 'and of the chain before');
    my @heights = map { (split /\t/)[1] }
        grep { !/^#/ } split /\n/, $before->{'.txs.tsv'};
    is(scalar(grep { $_ > 240 } @heights), 0, 'which know nothing later');
    cmp_ok(scalar @heights, '==', 200, 'samples of transactions');
    for my $after (300, 0) {
        isnt((chaingen('three', '--blocks', 300, '--after', $after))[0], 0,
            "--after $after");
    }
};

subtest 'figures' => sub {
    at_most('balance', 3.214, 5, 'us');
    at_most('history', 7, 6, 'us');
    at_least('two workers', 1.93, 1.7, 'times one');
    shown('hot', 2.1, 'us');
    at_most('never taken', undef, 1, 's');
    my $text = '';
    {
        open my $to, '>', \$text or die $!;
        my $out = select $to;
        is(print_figures(), 2, 'two are missed');
        select $out;
    }
    is_deeply([read_figures($text)], [
        ['balance', 'at most 5 us', '3.21 us', 'ok'],
        ['history', 'at most 6 us', '7 us', 'missed'],
        ['two workers', 'at least 1.7 times one', '1.93 times one', 'ok'],
        ['hot', '-', '2.10 us', '-'],
        ['never taken', 'at most 1 s', 'not measured', 'missed'],
    ], 'read again');
    is_deeply([read_figures("| files: rate | at least 200000 | 412 | MISSED |\n")],
        [['files: rate', 'at least 200000', '412', 'missed']], "sync.pl's");
};

$t->done;
