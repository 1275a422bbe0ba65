package Figures;

# What a benchmark must show: each figure beside its target, as rows of one
# table.
#
#   use Figures;
#   at_most('get_balance', 3.2, 5, 'us');
#   at_least('two workers', 1.93, 1.7, 'times one');
#   shown('get_balance, hot', 2.1, 'us');    # has no target
#   print_figures();         # the table; how many figures miss their target
#
#   my @rows = take_figures();               # instead: [what, target, figure,
#                                            # verdict], and forgets them
#   my @rows = read_figures($text);          # the rows of such a table
#   print_rows($head, @rows);                # a table; how many are missed
#
# Rows that sync.pl prints have the same form: t/bench/all.pl reads both.

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw(at_most at_least shown take_figures print_figures
    read_figures print_rows);

my @rows;

sub _text {
    my ($value) = @_;
    return 'not measured' if !defined $value;
    return $value if $value !~ /^-?[\d.]+(?:e[-+]?\d+)?$/i;
    return sprintf '%.0f', $value if abs($value) >= 1000 || $value == int $value;
    return sprintf $value < 100 ? '%.2f' : '%.1f', $value;
}

sub _row {
    my ($what, $target, $value, $unit, $good) = @_;
    my $figure = _text($value) . (defined $value && $unit ? " $unit" : '');
    push @rows, [$what, $target, $figure, $good];
}

sub at_most {
    my ($what, $value, $limit, $unit) = @_;
    _row($what, "at most $limit" . ($unit ? " $unit" : ''), $value, $unit,
        defined $value && $value <= $limit ? 'ok' : 'missed');
}

sub at_least {
    my ($what, $value, $limit, $unit) = @_;
    _row($what, "at least $limit" . ($unit ? " $unit" : ''), $value, $unit,
        defined $value && $value >= $limit ? 'ok' : 'missed');
}

sub shown {
    my ($what, $value, $unit) = @_;
    _row($what, '-', $value, $unit, defined $value ? '-' : 'missed');
}

sub print_rows {
    my ($head, @list) = @_;
    print "\n| $head | target | figure | |\n|---|---|---|---|\n";
    print '| ', join(' | ', @$_), " |\n" for @list;
    return scalar grep { $_->[3] =~ /missed/i } @list;
}

sub take_figures {
    return splice @rows;
}

sub print_figures {
    my ($head) = @_;
    return print_rows($head // 'must show', @rows);
}

sub read_figures {
    my ($text) = @_;
    my @found;
    while ($text =~ /^\| (.+?) \| (at (?:most|least) .+?|-) \| (.+?) \| (met|MISSED|ok|missed|-) \|$/mg) {
        push @found, [$1, $2, $3, $4 eq 'met' ? 'ok' : lc $4];
    }
    return @found;
}

1;
