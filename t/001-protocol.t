#!/usr/bin/perl

# docs/protocol.md against the method table: each method has its row, with the
# versions, arguments and handler of the table, and a test that names it.

use strict;
use warnings;
use Cwd ();
use File::Basename qw(dirname);
use Test::More;

my $root = Cwd::abs_path(dirname(__FILE__) . '/..');
chdir $root or die "$root: $!";

my %source = source();
my %doc = doc();
cmp_ok(scalar keys %source, '>', 50, 'methods in the table');
is(join(' ', sort keys %doc), join(' ', sort keys %source),
    'the document has the same methods');
for my $name (sort keys %source) {
    my ($s, $d) = ($source{$name}, $doc{$name} || {});
    is($d->{$_}, $s->{$_}, "$name: $_") for qw(versions arguments handler);
    my ($file) = glob 't/' . ($d->{test} // 'none') . '-*.t';
    my $last = (split /\./, $name)[-1];
    ok(defined $file && slurp($file) =~ /\b\Q$last\E\b/,
        "$name: its test has it");
}
done_testing();

sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    return scalar <$fh>;
}

# "V(1, 4, 2)" is "1.4.2", "V(1, 7, 0)" is "1.7".
sub version {
    my ($v) = @_;
    return '-' if $v eq 'OTHER';
    return $v =~ /V\((\d+), (\d+), (\d+)\)/ ? "$1.$2" . ($3 ? ".$3" : '') : '';
}

sub source {
    my $text = slurp('ngx_electrumx_module/ngx_electrumx_methods.c');
    my $v = qr/V\(\d+, \d+, \d+\)|OTHER|0/;
    my %m;
    while ($text =~ m/\{\s*ngx_string\("([\w.]+)"\),\s*(\w+),\s*($v),\s*($v),
        \s*[\w|\s]+,\s*\d+,\s*\{(.*?)\bend\s*\}\s*\}/gsx)
    {
        my ($name, $handler, $since, $until, $params) = ($1, $2, $3, $4, $5);
        $m{$name} = {
            handler => $handler,
            versions => join(', ', grep {length} map { version($_) } $since,
                $until),
            arguments => join(', ', arguments($params)),
        };
    }
    my $n = () = $text =~ /^    \{ ngx_string\("/gm;
    is(scalar keys %m, $n, 'each row of the table was understood');
    return %m;
}

# As the document writes them.
sub arguments {
    my ($params) = @_;
    my @a;
    $params =~ s/\{\s*"(\w+)",\s*\w+_ARG_(\w+),\s*\w+_REQUIRED,\s*0,
        \s*"\w+"\s*\}/required("$1", $2)/gx;
    while ($params =~ /\b(scriptpubkey)\b(?!")
        |\b(required|optional|lenient|added)\("(\w+)",\s*(\w+)
        (?:,\s*(\w+))?\)/gx)
    {
        my ($kind, $name, $type, $value) = $1 ? ('required', $1, '', '')
            : ($2, $3, $4, $5);
        my $default = $type eq 'BOOL' ? ($value ? 'true' : 'false')
            : ($value // '') eq 'UINT64_MAX' ? -1 : $value;
        push @a, $name . ($kind eq 'required' ? '' : '?')
            . ($kind =~ /optional|added/ && $type =~ /^(?:UINT|BOOL|END)$/
                ? " $default" : '')
            . ($kind eq 'lenient' ? ' (strict: required)'
                : $kind eq 'added' ? ' (not strict)' : '');
    }
    return @a;
}

sub doc {
    my %m;
    for (split /\n/, slurp('docs/protocol.md')) {
        my ($name, $versions, $arguments, undef, undef, $handler, $test)
            = /^\| `([\w.]+)` \|(.*)\|\s*$/ ? ($1, split /\s*\|\s*/, $2) : next;
        next if !defined $test;
        s/^\s+|\s+$//g for $versions, $arguments, $handler, $test;
        ok(!$m{$name}, "$name has one row");
        $m{$name} = { versions => $versions, arguments => $arguments,
            handler => $handler =~ s/`//gr, test => $test };
    }
    return %m;
}
