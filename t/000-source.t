#!/usr/bin/perl

# The rules that the sources keep, checked without building anything:
# borders between the parts, names, forms, and that the documents name what
# there is.

use strict;
use warnings;
use Cwd ();
use File::Basename qw(basename dirname);
use Test::More;

my $root = Cwd::abs_path(dirname(__FILE__) . '/..');
chdir $root or die "$root: $!";

my @files = -e '.git'
    ? split(/\0/, `git ls-files -z -c -o --exclude-standard`)
    : split(/\0/, `find . -path ./build -prune -o -type f -printf '%P\\0'`);
@files = sort grep { -f && !-l } @files;
cmp_ok(scalar @files, '>', 20, 'the files of the project');

my %text = map { $_ => slurp($_) } grep {-T} @files;
my @c = grep {/\.(?:c|cc|h|hh)$/} sort keys %text;
my @lib = grep {m{^indexer/lib/}} @c;
my @module = grep {m{^ngx_electrumx_module/}} @c;
my %code = map { $_ => code($text{$_}) } @c;

sub slurp {
    my ($file) = @_;
    open my $fh, '<', $file or die "$file: $!";
    local $/;
    return scalar(<$fh>) // '';
}

# Without comments and the contents of strings; lines stay where they are.
sub code {
    my ($t) = @_;
    $t =~ s{(/\*.*?\*/)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')}
        {defined $1 ? $1 =~ s/[^\n]//gr : '""'}gse;
    return $t;
}

# A test named $name: no line of $what->{file} matches $bad.
sub none {
    my ($name, $what, $bad, @in) = @_;
    my @found;
    for my $file (@in) {
        my $n = 0;
        for my $line (split /\n/, $what->{$file}, -1) {
            $n++;
            push @found, "$file:$n: $line" if $line =~ $bad;
        }
    }
    listed($name, @found);
}

# A test named $name that passes when nothing was found.
sub listed {
    my ($name, @found) = @_;
    ok(!@found, $name);
    my $more = @found - 15;
    diag("  $_") for @found[0 .. ($more > 0 ? 14 : $#found)];
    diag("  and $more more") if $more > 0;
}

# ---- borders: module -> lib <- indexer ----

cmp_ok(scalar @lib, '>', 0, 'the library has files');
none('the library knows neither nginx nor curl', \%code,
    qr/\bngx_|\bcurl|\bCURL/i, @lib);
none('the library does not print, end the process or assert', \%code,
    qr/(?<![\w.>])(?:printf|puts|perror|exit|_exit|abort|assert)\s*\(/, @lib);
none('the indexer does not know nginx', \%code, qr/\bngx_/,
    grep {m{^indexer/}} @c);
none('the module knows no header of the indexer outside lib', \%text,
    qr/#\s*include\s+"(?:\.\.|indexer)\//, @module);
none('LevelDB is used by its stores only', \%code,
    qr/\bleveldb\b|#\s*include\s*<leveldb|\bleveldb_\w/,
    grep { !m{^indexer/settle_(?:db|load|map|runs|ldb)\.} && !m{^t/} } @c);
none('curl is used by the node client only', \%code, qr/\bcurl_(?!global_)|\bCURL(?!_GLOBAL)/,
    grep { m{^(?:indexer|ngx_electrumx_module)/} && !m{^indexer/rpc} } @c);

# ---- names ----

# A definition begins with its name in the first column, its type above.
sub globals {
    my ($file) = @_;
    my ($before, @names) = ('');
    for my $line (split /\n/, $code{$file}) {
        my ($name) = $line =~ /^(\w+)\(/;
        push @names, $name
            if defined $name && $before =~ /^[\w ]+[\s*]*$/
            && $before !~ /\bstatic\b/;
        $before = $line;
    }
    return @names;
}

sub prefixed {
    my ($name, $good, @in) = @_;
    my @bad;
    for my $file (grep {/\.c$/} @in) {
        push @bad, map {"$file: $_"} grep { $_ !~ $good } globals($file);
    }
    listed($name, @bad);
}
prefixed('functions of the library begin with exi_', qr/^exi_/, @lib);
prefixed('functions of the module begin with ngx_electrumx_',
    qr/^ngx_(?:(?:stream|http)_)?electrumx_/, @module);

# In an archive that was built nothing escapes.
for my $archive (grep {-f} "$root/build/libexi.a") {
    my @bad = grep { !/^exi_/ }
        map { /^[0-9a-f]+ [TDBRC] (\S+)/ ? $1 : () }
        `nm -g --defined-only $archive`;
    listed('symbols of libexi.a begin with exi_', @bad);
}

my %base;
push @{ $base{ basename($_) } }, $_ for @module, @lib;
listed('names of files are unique',
    map {"@{ $base{$_} }"} grep { @{ $base{$_} } > 1 } sort keys %base);

# ---- forms ----

my @written = grep { !m{^t/data/|^t/fuzz/corpus/} } sort keys %text;
none('no blanks at the end of a line', \%text, qr/[ \t\r]$/, @written);
listed('each file ends with one line end',
    grep { length $text{$_} && $text{$_} !~ /[^\n]\n\z/ } @written);
none('no tabs', \%text, qr/\t/, @c);
none('no // comments', \%code, qr{//}, @c);
none('lines of the module have at most 80 characters', \%text, qr/^.{81}/,
    @module);
listed('headers have guards', grep {
    my $g = $code{$_};
    $g !~ /\A\s*#\s*ifndef\s+(\w+)\s+#\s*define\s+\1\b/
} grep {/\.hh?$/} @c);
listed('at most 1000 lines a file', map {
    my $n = () = $text{$_} =~ /\n/g;
    $n > 1000 ? "$_: $n" : ()
} grep { /\.(?:c|cc|h|hh|pm|t|sh|pl)$/ } @written);

my @close;
for my $file (grep {/\.c$/} @module) {
    my @l = split /\n/, $text{$file};
    for my $i (grep { $l[$_] eq '}' } 0 .. $#l) {
        my $j = $i + 1;
        $j++ while $j < @l && $l[$j] eq '';
        next if $j == @l || $l[$j] =~ /^#/;
        push @close, "$file:" . ($i + 1) if $j - $i != 3;
    }
}
listed('two empty lines between the functions of the module', @close);

my @scripts = grep { $text{$_} =~ /\A#!.*\b(?:ba)?sh\b/ } @written;
cmp_ok(scalar @scripts, '>', 4, 'the shell scripts');
listed('shell scripts are executable', grep { !-x } @scripts);
listed('shell scripts can be parsed',
    grep { system('bash', '-n', $_) != 0 } @scripts);

# ---- documents ----

my $readme = $text{'README.md'} // '';
ok($readme =~ /^    make run$/m && $readme =~ /^    make test$/m,
    'README.md names both commands');
listed('the documents exist',
    grep { !length($text{$_} // '') } qw(README.md LICENSE docs/architecture.md
    docs/index-format.md docs/hacking.md));
listed('the source tour of README.md has each source',
    grep { my $n = quotemeta basename($_); $readme !~ /\b$n\b/ }
    grep {m{^(?:indexer(?:/lib)?|ngx_electrumx_module)/[^/]*\.cc?$}} @c);
listed('README.md has each setting of the indexer',
    grep { $readme !~ /`$_`/ }
    ($text{'indexer/conf.c'} // '') =~ /\{\s*"(\w+)",\s*CONF_\w+/g);
listed('README.md has each directive of the module',
    grep { $readme !~ /`$_\b/ }
    map { $text{$_} =~ /\{\s*ngx_string\("(\w+)"\),\s*\n?\s*NGX_(?:\w+_)?(?:CONF|BLOCK|FLAG)/g }
    grep {/\.c$/} @module);
my @links;
for my $file (grep {/\.md$/} @written) {
    my $dir = dirname($file);
    push @links, map {"$file: $_"} grep { !-e "$dir/$_" }
        map {s/#.*//r} grep { !/^\w+:|^#/ } $text{$file} =~ /\]\(([^)\s]+)\)/g;
}
listed('links between the documents lead somewhere', @links);

# ---- nothing of one machine ----

none('no paths of one machine', \%text,
    qr{(?<![\w.\$\}])/(?:work|root|home/\w+|tmp/lab)(?:/|\b(?!er))}, @written);
none('no mirrors or registries', \%text,
    qr/\bdeb\.debian\.org|security\.debian\.org|\bpypi\.org|registry\.npmjs/,
    @written);

done_testing();
