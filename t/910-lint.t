#!/usr/bin/perl

# clang-tidy, cppcheck and gcc's analyzer find nothing that was not judged
# (indexer/tools/lint.known), and what is new is found.

use lib 't/lib';
use ElectrumX::Test;

my $t = ElectrumX::Test->new(needs => []);
my ($lint, $dir) = ('indexer/tools/lint.sh', $t->path('lint'));
my $nginx = $t->build . '/nginx-src';
chdir $ElectrumX::Test::ROOT or die "$ElectrumX::Test::ROOT: $!";

my $out = `$lint $dir 2 $nginx 2>&1`;
is($?, 0, 'nothing new') or diag($out);

# The same tools where nothing was judged.
my $copy = $t->path('copy');
system("mkdir -p $copy/tools && cp $lint $copy/tools/") == 0 or die 'cp';
$t->write_file('copy/tools/lint.known', "# nothing\n");
$out = `$copy/tools/lint.sh $dir 2 $nginx cppcheck 2>&1`;
isnt($?, 0, 'what is not judged is an error');
like($out, qr/^indexer\S+:\d+:\d+: \w+: .*\[\w+\]$/m, 'and named');
$t->done;
