#!/usr/bin/perl

# Every benchmark, one after the other, and one table at the end: target,
# figure, ok or missed.
#
#   make bench-all                               # or:
#   perl -It/bench t/bench/all.pl [--dir build/bench/all] [--parts LIST]
#       [--txs 5000000] [--short]
#
#   --parts LIST   of: sync serve latency live isolation settled [all]
#   --dir DIR      chains and nodes, kept for the next run
#   --short        chains of 200,000 transactions and short times: that all of
#                  it works; its figures say little
#
# What each part says is shown as it comes; before it the machine's load, as
# others that run at the same time spoil figures.  "make bench all" first.
# Exit status: 0 when each part worked, whatever the targets.

use strict;
use warnings;
use Cwd ();
use File::Path ();
use Figures;
use Getopt::Long;
use Time::HiRes qw(time);

my @PARTS = qw(sync serve latency live isolation settled);
my $build = $ENV{ELECTRUMX_BUILD} || 'build';
my %o = (txs => 5_000_000, dir => "$build/bench/all",
    parts => join(',', @PARTS));
GetOptions(\%o, qw(txs=i dir=s parts=s short)) && !@ARGV
    or die "see the head of $0\n";
my %known = map { $_ => 1 } @PARTS;
my %part = map { $known{$_} ? ($_ => 1) : die "no part $_\n" }
    split /,/, $o{parts};
$o{txs} = 200_000 if $o{short};
File::Path::make_path($o{dir});
my $dir = Cwd::abs_path($o{dir});
my @perl = ($^X, '-It/lib', '-It/bench');
my (@rows, @failed);
$| = 1;

my %run = (
    sync => \&sync, serve => \&serve, latency => \&latency, live => \&live,
    isolation => \&isolation, settled => \&settled,
);
my $start = time;
for my $name (grep { $part{$_} } @PARTS) {
    my $from = time;
    printf "\n==== %s (load %s, at %d s)\n", $name, load_average(),
        $from - $start;
    my @found = eval { $run{$name}->() };
    push @failed, "$name: $@" if $@;
    push @rows, @found;
    printf "==== %s took %d s\n", $name, time - $from;
}
my $missed = print_rows('must show', @rows);
printf "\n%d figures, %d missed; %d s, load now %s\n", scalar @rows, $missed,
    time - $start, load_average();
print "FAILED: $_" for @failed;
exit(@failed ? 1 : 0);

# ---- running ----------------------------------------------------------------

sub load_average {
    open my $f, '<', '/proc/loadavg' or return '?';
    return (split ' ', <$f>)[0];
}

# Shows and returns what a program says; dies when it fails.
sub output {
    my (@cmd) = @_;
    my $text = '';
    open my $p, '-|', @cmd or die "$cmd[0]: $!\n";
    while (my $line = <$p>) {
        print $line;
        $text .= $line;
    }
    close $p or die "@cmd: status $?\n";
    return $text;
}

# An empty directory that is removed afterwards.
sub in_new_dir {
    my ($name, $what) = @_;
    my $path = "$dir/$name";
    File::Path::remove_tree($path);
    File::Path::make_path($path);
    my $text = eval { $what->($path) };
    my $why = $@;
    File::Path::remove_tree($path);
    die $why if !defined $text;
    return $text;
}

# A chain, made once; its file.
sub chain {
    my ($name, @options) = @_;
    my $file = "$dir/$name.dat";
    output("$build/bench/chaingen", '--out', $file, '--end-time',
        1_700_000_000, @options) if !-e "$file.json";
    return $file;
}

# ---- the parts --------------------------------------------------------------

sub sync {
    return read_figures(output($^X, 't/bench/sync.pl', '--dir', "$dir/sync",
        '--keep', '--build', $build, '--txs', $o{txs},
        '--parts', 'files,rest,spender,memory512'));
}

sub serve {
    return read_figures(output(@perl, 't/bench/serve.pl', '--dir',
        "$dir/serve", '--txs', $o{txs}, $o{short}
        ? qw(--repeat 1 --seconds 0.3 --warmup 0.1 --idle 1000 --after 50
            --look-ups 1000)
        : qw(--repeat 2 --seconds 2 --warmup 0.3)));
}

sub latency {
    local %ENV = (%ENV, $o{short} ? (POOL => 5000, TXS => 30, BLOCKS => 2)
        : ());
    return read_figures(output(@perl, 't/bench/latency.pl'));
}

# No target but that a reader waits for nobody.
sub live {
    my $text = in_new_dir('live', sub {
        output("$build/bench/bench_live", $_[0], $o{short} ? 100_000 : ());
    });
    my ($n, $s, $us, $own, $file) = $text =~
        /^(\d+) transactions: ([\d.]+) s, CPU ([\d.]+) us each; own memory ([\d.]+) MB, file (\d+) MB/m;
    my ($waits) = $text =~ /waited for something in (\d+) of them/;
    $n //= 'some';
    shown("mempool of $n: loaded", $s, 's');
    shown("mempool of $n: indexer's own memory", $own, 'MB');
    shown("mempool of $n: the live layer's file", $file, 'MB');
    shown("mempool of $n: a block of 4,000 not seen before, CPU",
        $text =~ /not seen before:.*CPU ([\d.]+) ms/ ? $1 : undef, 'ms');
    at_most("mempool of $n: snapshots in which a reader waited", $waits, 0);
    return take_figures();
}

sub isolation {
    my $chain = chain('isolation', qw(--blocks 400 --txs-per-block 800
        --reuse 0.9 --zipf 2.5));
    my $text = output(@perl, 't/bench/isolation.pl', $chain, $chain, 8,
        $o{short} ? 2 : 10);
    my @own = read_figures($text);
    return @own if @own;
    for my $while ('\d+ clients, heaviest history', 'one client does not read') {
        my ($what, $times) = $text =~ /^($while)\s+([\d. |]+)/m;
        my @ms = split /[ |]+/, $times // '';
        $what //= $while;
        at_most("$what: another's ping, p99", $ms[1], 5, 'ms');
        at_most("$what: another's get_balance, p99", $ms[4], 20, 'ms');
    }
    return take_figures();
}

# 1,000 blocks in batches of 10 on top of a bulk load; sizes and look-ups beside
# those before, and beside a bulk load of all.
sub settled {
    my @how = $o{short} ? (400, 300) : (1500, 1000);
    my $chain = chain($o{short} ? 'settled-short' : 'settled', '--with-genesis',
        '--blocks', $how[0] + $how[1], '--txs-per-block',
        $o{short} ? 200 : 800, qw(--seed 5));
    my $text = in_new_dir('settled', sub {
        output("$build/bench/bench_settled", $chain, $_[0], $how[0], 10, 16);
    });
    my @own = read_figures($text);
    return @own if @own;
    my %at = map {
        my ($when) = $_;
        $text =~ /^\Q$when\E\s+([\d. ]+)$/m ? ($when => [split ' ', $1]) : ()
    } 'before', 'after all batches', 'fresh load of all';
    my ($size) = $text =~ /size: ([\d.]+) of a fresh load/;
    my @names = split /, /, $text =~ /^CPU us: (.*)$/m ? $1 : '';
    for my $i (0 .. $#names) {
        my ($before, $after) = map { $at{$_}[$i] } 'before', 'after all batches';
        at_most("$names[$i], $how[1] settled blocks", $before && $after
            ? $after / $before : undef, 1.5, 'times before');
    }
    at_most('size after settling', $size, 1.1, 'times a fresh load');
    return take_figures();
}
