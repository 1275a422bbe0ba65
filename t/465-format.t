#!/usr/bin/perl

# Data directories of earlier versions of this program: t/data/format/N.tar.gz
# are settled layers of the fixed chain (ElectrumX::FixedChain), as the versions
# of their format made them.  Each is opened, continued and served, and is in the
# end equal to one that is made now.  N is the format and a letter.
#
# FORMAT_RECORD=NAME writes t/data/format/NAME.tar.gz with the indexer that
# ELECTRUMX_INDEXER names: to be done when the format changes, with the version
# before the change.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Compare;
use ElectrumX::FixedChain;
use ElectrumX::Model;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
my $chain = ElectrumX::FixedChain->new($t);
$chain->build;
my $node = $chain->{node};
my %conf = ($node->indexer_conf, live_window => 10, settle_batch => 2,
    spender => 'on', keep_generations => 2);
my $dir = "$ElectrumX::Test::ROOT/t/data/format";
exit record($ENV{FORMAT_RECORD}) if $ENV{FORMAT_RECORD};

$chain->mine('parent', 'child') for 1;
$chain->mine for 1 .. 8;
my @old = sort glob "$dir/*.tar.gz";
cmp_ok(scalar @old, '>=', 2, 'data directories of earlier versions');
my $fresh = digest('fresh');
like($fresh, qr/height 10[4-9]/, 'more is settled than is recorded (100)');
for my $file (@old) {
    my ($name) = $file =~ m!([^/]+)\.tar\.gz$!;
    mkdir $t->path($name);
    is(system('tar', 'xzf', $file, '-C', $t->path($name)), 0, $name);
    is(digest($name), $fresh, "$name: opened, continued, equal to a new one");
}
$t->done;

# Continues what is in the directory, asks everything, hashes the content.
sub digest {
    my ($name) = @_;
    my $data = $t->path($name);
    $t->start_indexer(%conf, data_dir => $data);
    $t->wait_ready($node->height, 60);
    $t->start_nginx(workers => 1);
    my $c = $t->client('tcp', timeout => 20);
    $c->version('1.6');
    my $p = ElectrumX::Model->new($node)->picture;
    ElectrumX::Compare::wait_same($t, $c, $p, 30);
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    $cmp->all;
    $cmp->ok("$name: all answers");
    $t->stop_nginx;
    $t->stop_indexer;
    my $conf = $t->indexer_conf('check', %conf, data_dir => $data);
    my $out = `@{[$t->build]}/electrumx-indexer check --digest -c $conf 2>&1`;
    is($? >> 8, 0, "$name: a full check finds nothing") or diag $out;
    return join '', map {"$_\n"} $out =~ /^(?:generation\ \d+,\ )?(
        height\ \d+|(?:history|txids|unspent|spenders|flat)\ .*)/mgx;
}

sub record {
    my ($name) = @_;
    $t->start_indexer(%conf, data_dir => $t->path($name));
    $t->wait_ready($node->height, 60);
    $t->stop_indexer;
    mkdir $dir;
    my $rc = system('tar', 'czSf', "$dir/$name.tar.gz", '--sort=name',
        '--owner=0', '--group=0', '--exclude=live', '--exclude=lock',
        '--exclude=blockpos', '-C', $t->path($name), '.');
    return $rc >> 8;
}
